//! The rules of the definitions, run as the API server runs them: what they refuse, and with which words.
#![expect(clippy::unwrap_used, reason = "a test may stop at what it does not expect")]

mod auth;
mod object_stores;

use berth_crds::{GCPolicy, Registry};
use std::{cell::RefCell, collections::HashMap, rc::Rc};

use kube::{
    CustomResourceExt,
    core::cel::{CompiledSchema, ValidationErrors, compile_schema, validate_compiled},
};
use serde::Serialize;
use serde_json::{Value, json};

/// The rules of a kind, compiled once a test: that takes longer than running them.
fn rules<K: CustomResourceExt>() -> Rc<CompiledSchema> {
    thread_local! {
        static COMPILED: RefCell<HashMap<&'static str, Rc<CompiledSchema>>> = RefCell::default();
    }
    let compile = || {
        let crd = K::crd();
        let schema = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
        let compiled = compile_schema(&serde_json::to_value(schema).unwrap());
        assert!(!compiled.has_errors(), "{:?}", compiled.compilation_errors());
        Rc::new(compiled)
    };
    COMPILED.with_borrow_mut(|all| Rc::clone(all.entry(K::crd_name()).or_insert_with(compile)))
}

/// Creates a resource, as far as the rules have a say.
fn validate_cel<K: CustomResourceExt + Serialize>(new: &K) -> Result<(), ValidationErrors> {
    validate_compiled(&rules::<K>(), &serde_json::to_value(new).unwrap(), None)
}

/// Changes a resource, as far as the rules have a say.
fn validate_cel_update<K: CustomResourceExt + Serialize>(new: &K, old: &K) -> Result<(), ValidationErrors> {
    let (new, old) = (serde_json::to_value(new).unwrap(), serde_json::to_value(old).unwrap());
    validate_compiled(&rules::<K>(), &new, Some(&old))
}

fn registry(spec: &Value) -> Registry {
    serde_json::from_value(json!({
        "apiVersion": "berth.dev/v1alpha1", "kind": "Registry", "metadata": {"name": "main"}, "spec": spec
    }))
    .unwrap()
}

fn policy(spec: &Value) -> GCPolicy {
    serde_json::from_value(json!({
        "apiVersion": "berth.dev/v1alpha1", "kind": "GCPolicy", "metadata": {"name": "nightly"}, "spec": spec
    }))
    .unwrap()
}

/// The messages of the refusal, or nothing.
fn refusal(result: Result<(), ValidationErrors>) -> String {
    result.err().map(|errors| errors.to_string()).unwrap_or_default()
}

fn check(case: &str, found: &str, expected: &str) {
    if expected.is_empty() {
        assert_eq!(found, "", "{case} is refused");
    } else {
        assert!(found.contains(expected), "{case}: expected {expected:?}, found {found:?}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn creating_a_registry() {
    let pvc = json!({"persistentVolumeClaim": {"size": "20Gi"}});
    for (case, spec, expected) in [
        ("smallest", json!({"storage": pvc}), ""),
        ("no storage", json!({"storage": {}}), "storage names no place: set exactly one"),
        (
            "two kinds of storage",
            json!({"storage": {"persistentVolumeClaim": {"size": "1Gi"}, "emptyDir": {}}}),
            "storage names two places: keep exactly one",
        ),
        ("no size", json!({"storage": {"persistentVolumeClaim": {}}}), "size is missing: say how large"),
        ("an existing claim", json!({"storage": {"persistentVolumeClaim": {"existingClaim": "data"}}}), ""),
        (
            "an existing claim with a size",
            json!({"storage": {"persistentVolumeClaim": {"existingClaim": "data", "size": "1Gi"}}}),
            "leave out size and storageClassName",
        ),
        (
            "a size that is none",
            json!({"storage": {"persistentVolumeClaim": {"size": "20GB"}}}),
            "size must be a quantity of at least 1Mi",
        ),
        (
            "a size without a unit",
            json!({"storage": {"persistentVolumeClaim": {"size": "20"}}}),
            "size must be a quantity of at least 1Mi",
        ),
        (
            "a size with an exponent",
            json!({"storage": {"persistentVolumeClaim": {"size": "1e9"}}}),
            "size must be a quantity of at least 1Mi",
        ),
        (
            "a size with a sign",
            json!({"storage": {"persistentVolumeClaim": {"size": "+1Gi"}}}),
            "size must be a quantity of at least 1Mi",
        ),
        (
            "an access mode that stands alone",
            json!({"storage": {"persistentVolumeClaim": {"size": "1Gi", "accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]}}}),
            "ReadWriteOncePod stands alone",
        ),
        (
            "an access mode twice",
            json!({"storage": {"persistentVolumeClaim": {"size": "1Gi", "accessModes": ["ReadWriteMany", "ReadWriteMany"]}}}),
            "accessModes names one mode twice",
        ),
        ("no class", json!({"storage": {"persistentVolumeClaim": {"size": "1Gi", "storageClassName": ""}}}), ""),
        (
            "a limit that is none",
            json!({"storage": {"emptyDir": {"sizeLimit": "much"}}}),
            "sizeLimit must be a quantity of at least 1Mi",
        ),
        (
            "three replicas on a ReadWriteOnce volume",
            json!({"replicas": 3, "storage": pvc}),
            "replicas share a ReadWriteOnce volume: use one replica, a volume with accessModes [ReadWriteMany], or an object",
        ),
        (
            "three replicas on a ReadWriteMany volume",
            json!({"replicas": 3, "storage": {"persistentVolumeClaim": {"size": "1Gi", "accessModes": ["ReadWriteMany"]}}}),
            "",
        ),
        (
            "two replicas on an emptyDir",
            json!({"replicas": 2, "storage": {"emptyDir": {}}}),
            "replicas cannot share an emptyDir",
        ),
        ("memory", json!({"storage": {"inMemory": {}}}), ""),
        (
            "two replicas in memory",
            json!({"replicas": 2, "storage": {"inMemory": {}}}),
            "replicas cannot share the memory of one process: use one replica, a persistentVolumeClaim",
        ),
        (
            "deletion of an existing claim",
            json!({"deletionPolicy": "Delete", "storage": {"persistentVolumeClaim": {"existingClaim": "data"}}}),
            "deletionPolicy Delete does not go with existingClaim",
        ),
        ("an image with a space", json!({"image": "a b", "storage": pvc}), "image must be an image reference"),
        (
            "a node port on a ClusterIP",
            json!({"service": {"nodePort": 30500}, "storage": pvc}),
            "nodePort needs type NodePort or LoadBalancer",
        ),
        ("a node port", json!({"service": {"type": "NodePort", "nodePort": 30500}, "storage": pvc}), ""),
        (
            "a node port out of range",
            json!({"service": {"type": "NodePort", "nodePort": 70000}, "storage": pvc}),
            "nodePort must be between 1 and 65535",
        ),
        ("a certificate", json!({"tls": {"secretRef": {"name": "main-tls"}, "minVersion": "1.3"}, "storage": pvc}), ""),
        (
            "a Secret of another namespace",
            json!({"tls": {"secretRef": {"name": "other/main-tls"}}, "storage": pvc}),
            "name must be that of a Secret",
        ),
        ("headers", json!({"headers": {"X-Content-Type-Options": ["nosniff"]}, "storage": pvc}), ""),
        (
            "a header's name with a colon",
            json!({"headers": {"X-A:": ["b"]}, "storage": pvc}),
            "headers must have names",
        ),
        (
            "a list of platforms without one",
            json!({"validation": {"manifests": {"indexes": {"platforms": "List"}}}, "storage": pvc}),
            "platformList goes with platforms List",
        ),
        (
            "a list of platforms that is not asked for",
            json!({"validation": {"manifests": {"indexes": {"platformList": [{"os": "linux", "architecture": "amd64"}]}}},
                "storage": pvc}),
            "platformList goes with platforms List",
        ),
        ("a port out of range", json!({"service": {"port": 0}, "storage": pvc}), "port must be between 1 and 65535"),
        (
            "annotations of an existing account",
            json!({"serviceAccount": {"name": "ci", "annotations": {"a": "b"}}, "storage": pvc}),
            "leave out name or annotations",
        ),
        (
            "a label of Berth's",
            json!({"podLabels": {"app.kubernetes.io/name": "mine"}, "storage": pvc}),
            "podLabels must leave out the labels that Berth sets itself",
        ),
        ("a label", json!({"podLabels": {"team": "images"}, "storage": pvc}), ""),
    ] {
        check(case, &refusal(validate_cel(&registry(&spec))), expected);
    }
}

#[test]
fn changing_a_registry() {
    let claim = |fields: Value| json!({"storage": {"persistentVolumeClaim": fields}});
    for (case, old, new, expected) in [
        ("a larger volume", claim(json!({"size": "1Gi"})), claim(json!({"size": "1025Mi"})), ""),
        (
            "a smaller volume",
            claim(json!({"size": "1Gi"})),
            claim(json!({"size": "1023Mi"})),
            "a volume cannot shrink: keep the size or give a larger one",
        ),
        ("the same in another unit", claim(json!({"size": "1Gi"})), claim(json!({"size": "1024Mi"})), ""),
        (
            "another kind of storage",
            claim(json!({"size": "1Gi"})),
            json!({"storage": {"emptyDir": {}}}),
            "the kind of storage cannot change",
        ),
        (
            "a directory for the memory",
            json!({"storage": {"inMemory": {}}}),
            json!({"storage": {"emptyDir": {}}}),
            "the kind of storage cannot change",
        ),
        (
            "another class",
            claim(json!({"size": "1Gi", "storageClassName": "slow"})),
            claim(json!({"size": "1Gi", "storageClassName": "fast"})),
            "storageClassName cannot change",
        ),
        (
            "other access",
            claim(json!({"size": "1Gi"})),
            claim(json!({"size": "1Gi", "accessModes": ["ReadWriteMany"]})),
            "accessModes cannot change",
        ),
        (
            "the same access in another order",
            claim(json!({"size": "1Gi", "accessModes": ["ReadWriteOnce", "ReadWriteMany"]})),
            claim(json!({"size": "1Gi", "accessModes": ["ReadWriteMany", "ReadWriteOnce"]})),
            "",
        ),
        (
            "less access",
            claim(json!({"size": "1Gi", "accessModes": ["ReadWriteOnce", "ReadWriteMany"]})),
            claim(json!({"size": "1Gi", "accessModes": ["ReadWriteOnce"]})),
            "accessModes cannot change",
        ),
        (
            "the default access spelled out",
            claim(json!({"size": "1Gi"})),
            claim(json!({"size": "1Gi", "accessModes": ["ReadWriteOnce"]})),
            "",
        ),
        (
            "what an existing claim offers",
            claim(json!({"existingClaim": "a"})),
            claim(json!({"existingClaim": "a", "accessModes": ["ReadWriteMany"]})),
            "",
        ),
        (
            "another claim",
            claim(json!({"existingClaim": "a"})),
            claim(json!({"existingClaim": "b"})),
            "existingClaim cannot change",
        ),
        (
            "a claim in place of an own volume",
            claim(json!({"size": "1Gi"})),
            claim(json!({"existingClaim": "b"})),
            "existingClaim cannot change",
        ),
    ] {
        check(case, &refusal(validate_cel_update(&registry(&new), &registry(&old))), expected);
    }
}

#[test]
fn names() {
    let forty = "a".repeat(40);
    let forty_one = "a".repeat(41);
    for (name, is_good) in [
        ("a", true),
        ("main-2", true),
        (&*forty, true),
        (&*forty_one, false),
        ("2main", false),
        ("a.b", false),
        ("default", false),
    ] {
        let mut resource = registry(&json!({"storage": {"emptyDir": {}}}));
        resource.metadata.name = Some(name.into());
        check(name, &refusal(validate_cel(&resource)), if is_good { "" } else { "the name of a Registry becomes" });
    }
}

#[test]
fn creating_a_policy() {
    let with = |key: &str, value: Value| {
        let mut spec = json!({"registryRef": {"name": "main"}, "schedule": "0 3 * * *"});
        spec[key] = value;
        spec
    };
    for (case, spec, expected) in [
        ("smallest", with("suspend", json!(false)), ""),
        ("a macro", with("schedule", json!("@daily")), ""),
        ("names", with("schedule", json!("*/5 1-3 * JAN,FEB mon-fri")), ""),
        ("four fields", with("schedule", json!("0 3 * *")), "schedule must have five fields"),
        ("six fields", with("schedule", json!("0 0 3 * * *")), "schedule must have five fields"),
        ("a zone in it", with("schedule", json!("TZ=Europe/Berlin 0 3 * * *")), "a time zone goes into timeZone"),
        ("the bounds", with("schedule", json!("0-59/15,5 0-23/2 1,31 1-12 0,1-6/9")), ""),
        ("a minute", with("schedule", json!("0,60 3 * * *")), "schedule has a value that its field cannot have"),
        ("an hour", with("schedule", json!("0 20-25 * * *")), "schedule has a value that its field cannot have"),
        ("a long hour", with("schedule", json!("0 100 * * *")), "schedule has a value that its field cannot have"),
        ("no day", with("schedule", json!("0 3 0 * *")), "schedule has a value that its field cannot have"),
        ("a day", with("schedule", json!("0 3 1,32 * *")), "schedule has a value that its field cannot have"),
        ("a month", with("schedule", json!("0 3 * 13 *")), "schedule has a value that its field cannot have"),
        ("Sunday as 7", with("schedule", json!("0 3 * * 7")), "schedule has a value that its field cannot have"),
        (
            "Sunday as 7 in a range",
            with("schedule", json!("0 3 * * 5-7")),
            "schedule has a value that its field cannot",
        ),
        ("leading zeros", with("schedule", json!("00 03 01 01 00")), ""),
        ("many zeros", with("schedule", json!("000 0003 001-031/07 */012 ?")), ""),
        ("a long step", with("schedule", json!("*/90 3 * * *")), ""),
        ("no step", with("schedule", json!("*/0 3 * * *")), "schedule has a value that its field cannot have"),
        ("zeros as a step", with("schedule", json!("0 */00 * * *")), "schedule has a value that its field cannot have"),
        ("no such month", with("schedule", json!("0 3 * FOO *")), "schedule has a value that its field cannot have"),
        ("no such weekday", with("schedule", json!("0 3 * * FRIDAY")), "schedule has a value that its field cannot"),
        ("a name of another field", with("schedule", json!("0 3 * MON *")), "schedule has a value that its field"),
        ("a letter", with("schedule", json!("0 3 L * *")), "schedule has a value that its field cannot have"),
        ("commas alone", with("schedule", json!(",,, 3 * * *")), "schedule has a value that its field cannot have"),
        ("an end without a start", with("schedule", json!("-5 3 * * *")), "schedule has a value that its field cannot"),
        ("an interval", with("schedule", json!("@every 1h")), "schedule must have five fields"),
        ("a zone", with("timeZone", json!("America/Argentina/Buenos_Aires")), ""),
        ("the node's zone", with("timeZone", json!("Local")), "timeZone must be a name from the tz database"),
        ("a path", with("timeZone", json!("../etc/passwd")), "timeZone must be a name from the tz database"),
        ("days", with("gracePeriod", json!("7d")), ""),
        ("no time", with("gracePeriod", json!("0")), ""),
        ("negative", with("gracePeriod", json!("-1h")), "gracePeriod must be a duration that is not negative"),
        ("no unit", with("gracePeriod", json!("60")), "gracePeriod must be a duration"),
        ("words", with("activeDeadline", json!("long")), "activeDeadline must be a duration"),
        ("a minute", with("activeDeadline", json!("1m")), ""),
        ("a minute in seconds", with("activeDeadline", json!("60s")), ""),
        ("hours and seconds", with("activeDeadline", json!("1.5h10s")), ""),
        (
            "less than a minute",
            with("activeDeadline", json!("59s")),
            "activeDeadline must be a duration of at least 1m",
        ),
        ("nothing", with("activeDeadline", json!("0m0h")), "activeDeadline must be a duration of at least 1m"),
        ("a nanosecond", with("activeDeadline", json!("1ns")), "activeDeadline must be a duration of at least 1m"),
        (
            "a few milliseconds",
            with("activeDeadline", json!("5ms")),
            "activeDeadline must be a duration of at least 1m",
        ),
        ("a negative limit", with("failedRunsHistoryLimit", json!(-1)), "must be between 0 and 10"),
        ("a large limit", with("successfulRunsHistoryLimit", json!(11)), "must be between 0 and 10"),
    ] {
        check(case, &refusal(validate_cel(&policy(&spec))), expected);
    }
}

#[test]
fn changing_a_policy() {
    let to = |name: &str| policy(&json!({"registryRef": {"name": name}, "schedule": "@daily"}));
    check("another registry", &refusal(validate_cel_update(&to("b"), &to("a"))), "registryRef cannot change");
    check("the same registry", &refusal(validate_cel_update(&to("a"), &to("a"))), "");
}
