//! [pure] The status of a Registry, from what was applied and nothing else. The time is an argument.

pub mod access;
mod effective;

use berth_crds::{Registry, RegistryStatus, Summary};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use self::{
    access::Access,
    effective::{effective, storage_summary, version},
};
use super::{
    apply::Applied,
    auth, certificate, issuers,
    object_store::{self, Reach},
    pull_secrets,
    reach::Answer,
    rollout::{Rollout, rollout},
    token_keys,
    tokens::Tokens,
    validate::ValidRegistry,
    volume::{self, VolumeState},
};
use crate::{
    conditions::{self, Progress, Wanted},
    names, pods,
};

/// The status after everything was applied. `answers` are of the pods, if they are on an object store; none while they are
/// still asked.
#[must_use]
pub fn of_applied(
    registry: &Registry,
    valid: &ValidRegistry,
    applied: &Applied,
    pods: &[Pod],
    answers: Option<&[Answer]>,
    access: &Access<'_>,
    now: Timestamp,
) -> RegistryStatus {
    let Applied { deployment, held, volume_claim, refusal, sources } = applied;
    let previous = registry.status.clone().unwrap_or_default();
    let generation = registry.metadata.generation;
    let storage = match valid.storage.object_store() {
        Some(store) => {
            let known = &previous.conditions;
            StorageState::Object(match answers {
                None => Reach::before(store, known, generation),
                Some(answers) => Reach::of(valid, store, &sources.storage, answers).steady(known, generation),
            })
        }
        None => StorageState::Volume(volume::state(&valid.storage, volume_claim.as_ref(), refusal.as_deref())),
    };
    let rollout = deployment
        .as_ref()
        .map_or_else(|| Rollout::Progressing("nothing is applied while the Registry is paused".into()), rollout);
    let progress = match held {
        Some(missing) => missing.progress(),
        None => progress(valid, &rollout, &storage, pods),
    };
    let mut wanted = progress.conditions();
    wanted.push(storage.condition());
    wanted.extend(valid.tls.as_ref().map(|tls| certificate::condition(&tls.secret, &sources.certificate)));
    wanted.extend(valid.auth.as_ref().map(|auth| auth::condition(auth, &sources.auth)));
    wanted.extend(access.conditions(valid, &previous));
    if valid.paused {
        wanted.push(Wanted {
            type_: "Paused",
            holds: Some(true),
            reason: "Paused".into(),
            message: "changes are held back: set spec.paused to false to go on".into(),
        });
    }
    let counts = deployment.as_ref().and_then(|deployment| deployment.status.as_ref());
    let ready = counts.and_then(|status| status.ready_replicas).unwrap_or(0);
    let token_keys = access.token_keys(access::has_issuer(valid), &previous);
    let pull_secrets = access.pull_secrets(&previous);
    RegistryStatus {
        observed_generation: generation,
        conditions: conditions::merge(&previous.conditions, wanted, generation, now),
        replicas: Some(counts.and_then(|status| status.replicas).unwrap_or(0)),
        ready_replicas: Some(ready),
        selector: Some(names::selector_text(&names::registry_selector(&valid.name))),
        // What runs is what ran before, until the rollout is complete; and altogether, while the pods are held back.
        version: match rollout {
            Rollout::Complete if held.is_none() => Some(version(&valid.image)),
            _ => previous.version,
        },
        url: if held.is_none() { Some(valid.url()) } else { previous.url },
        effective: if held.is_none() { Some(effective(valid)) } else { previous.effective },
        token_keys,
        pull_secrets,
        summary: Some(Summary {
            replicas: format!("{ready}/{}", valid.replicas),
            storage: storage_summary(&valid.storage, volume_claim.as_ref()),
        }),
    }
}

/// The status when nothing more could be applied: what was known, and why it is not what the spec asks for. `tokens` are what was
/// kept before.
#[must_use]
pub fn of_failure(registry: &Registry, progress: &Progress, tokens: Option<&Tokens>, now: Timestamp) -> RegistryStatus {
    let previous = registry.status.clone().unwrap_or_default();
    let mut wanted = progress.conditions();
    // What else was known stays as it was, with the generation of which it was known.
    let mut still_known = vec!["StorageReady", object_store::CONDITION];
    still_known.extend(registry.spec.tls.is_some().then_some("CertificateReady"));
    if registry.spec.auth.is_some() {
        still_known.extend([auth::CONDITION, issuers::CONDITION]);
        match (tokens, progress) {
            (Some(tokens), _) => {
                let (name, has_pull_secrets) = (registry.name_any(), !registry.spec.pull_secrets.is_empty());
                wanted.extend(access::of_tokens(tokens, &name, has_pull_secrets, &previous));
            }
            // They end by themselves.
            (None, Progress::Stalled { .. }) => {
                still_known.push(token_keys::CONDITION);
                wanted.extend(access::stalled(&previous.conditions));
            }
            // What will be tried again soon comes in time.
            (None, Progress::Done { .. } | Progress::Underway { .. }) => {
                still_known.extend([token_keys::CONDITION, pull_secrets::CONDITION]);
            }
        }
    }
    let access = Access { tokens, standings: None };
    let (token_keys, pull_secrets) = (access.token_keys(true, &previous), access.pull_secrets(&previous));
    let mut conditions = conditions::merge(&previous.conditions, wanted, registry.metadata.generation, now);
    conditions
        .extend(still_known.into_iter().filter_map(|type_| conditions::find(&previous.conditions, type_)).cloned());
    let observed_generation = registry.metadata.generation;
    RegistryStatus { observed_generation, conditions, token_keys, pull_secrets, ..previous }
}

/// What is known of where the content is kept.
enum StorageState {
    /// In a volume, or in the pod.
    Volume(VolumeState),
    /// On an object store.
    Object(Reach),
}

impl StorageState {
    fn condition(&self) -> Wanted {
        let state = match self {
            Self::Object(reach) => return reach.condition(),
            Self::Volume(state) => state,
        };
        let (holds, reason, message) = match state {
            VolumeState::Ready { reason, message } => (true, reason, message),
            VolumeState::Underway { reason, message } | VolumeState::Stuck { reason, message } => {
                (false, reason, message)
            }
        };
        Wanted { type_: "StorageReady", holds: Some(holds), reason: (*reason).to_owned(), message: message.clone() }
    }
}

fn progress(valid: &ValidRegistry, rollout: &Rollout, storage: &StorageState, pods: &[Pod]) -> Progress {
    match storage {
        StorageState::Volume(VolumeState::Stuck { reason, message }) => return Progress::stalled(*reason, message),
        // There is no pod that would have to reach it, or to be started.
        StorageState::Object(_) if valid.replicas == 0 => {}
        // Why pods are not ready, mostly, so it comes before that they are not.
        StorageState::Object(Reach::Unreached { reason, message, transient: false }) => {
            return Progress::stalled(reason, message);
        }
        StorageState::Object(Reach::Unreached { reason, message, transient: true }) => {
            return Progress::underway(reason, message);
        }
        StorageState::Volume(VolumeState::Ready { .. } | VolumeState::Underway { .. })
        | StorageState::Object(Reach::Reached { .. } | Reach::Unknown { .. }) => {}
    }
    match (rollout, pods::trouble(pods)) {
        (Rollout::Failed(_), Some(trouble)) => return Progress::stalled(trouble.reason, trouble.message),
        (Rollout::Failed(message), None) => return Progress::stalled("RolloutFailed", message),
        (Rollout::Progressing(_), Some(trouble)) => return Progress::underway(trouble.reason, trouble.message),
        (Rollout::Progressing(message), None) => return Progress::underway("Rollout", message),
        (Rollout::Complete, _) => {}
    }
    match storage {
        // Many volumes are made or grown only when a pod uses them, and here there shall be none.
        StorageState::Volume(VolumeState::Underway { reason, message }) if valid.replicas > 0 => {
            return Progress::underway(*reason, message);
        }
        // A pod that is ready says so of its store as well, also where the operator is kept from asking it.
        StorageState::Volume(_) | StorageState::Object(_) => {}
    }
    let message = match valid.replicas {
        0 => "stopped: spec.replicas is 0".to_owned(),
        1 => "the replica is ready".to_owned(),
        replicas => format!("all {replicas} replicas are ready"),
    };
    Progress::Done { message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Settings,
        registry::{
            reach::Told,
            source::{Sources, Unusable},
            validate::validate,
        },
    };
    use k8s_openapi::api::{apps::v1::Deployment, core::v1::PersistentVolumeClaim};
    use serde_json::{Value, json};

    const FINE: Sources = Sources { certificate: Ok(()), storage: Ok(()), auth: Ok(()) };

    fn registry(status: &Value) -> Registry {
        serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
            "metadata": {"name": "main", "namespace": "apps", "generation": 4, "uid": "u"}, "status": status,
            "spec": {"storage": {"persistentVolumeClaim": {"size": "20Gi"}}}}))
        .unwrap()
    }

    fn deployment(available: i32) -> Deployment {
        serde_json::from_value(json!({"metadata": {"generation": 2},
            "spec": {"replicas": 1, "selector": {}, "template": {}},
            "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "readyReplicas": available,
                "availableReplicas": available}}))
        .unwrap()
    }

    fn claim(capacity: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({"metadata": {"name": "main"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "20Gi"}}},
            "status": {"phase": "Bound", "capacity": {"storage": capacity}}}))
        .unwrap()
    }

    fn status(applied: &Applied, pods: &Value) -> RegistryStatus {
        let registry = registry(&json!({"version": "0.0.9", "conditions": [{"type": "Ready", "status": "False",
            "reason": "Rollout", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}));
        let valid = validate(&registry, &Settings::default()).unwrap();
        let pods: Vec<Pod> = serde_json::from_value(pods.clone()).unwrap();
        of_applied(
            &registry,
            &valid,
            applied,
            &pods,
            None,
            &Access::default(),
            "2026-01-02T00:00:00.5Z".parse().unwrap(),
        )
    }

    #[test]
    fn a_ready_registry() {
        let applied = Applied {
            deployment: Some(deployment(1)),
            held: None,
            volume_claim: Some(claim("20Gi")),
            refusal: None,
            sources: FINE,
        };
        insta::assert_yaml_snapshot!(status(&applied, &json!([])));
    }

    #[test]
    fn what_is_in_the_way_is_the_reason() {
        let pulling = json!([{"metadata": {"name": "main-1"}, "status": {"containerStatuses": [{"name": "registry",
            "ready": false, "image": "", "imageID": "", "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}]}}]);
        for (available, capacity, refusal, pods, expected) in [
            (0, "20Gi", None, json!([]), ("Reconciling", "Rollout", "0 of 1 pods are available")),
            (
                0,
                "20Gi",
                None,
                pulling.clone(),
                ("Reconciling", "ErrImagePull", "container registry of pod main-1: not found"),
            ),
            (
                1,
                "10Gi",
                None,
                json!([]),
                ("Reconciling", "Resizing", "PersistentVolumeClaim main grows from 10Gi to 20Gi"),
            ),
            (
                1,
                "10Gi",
                Some("no expansion"),
                json!([]),
                ("Stalled", "ResizeRefused", "PersistentVolumeClaim main cannot be changed: no expansion"),
            ),
        ] {
            let applied = Applied {
                deployment: Some(deployment(available)),
                held: None,
                volume_claim: Some(claim(capacity)),
                refusal: refusal.map(str::to_owned),
                sources: FINE,
            };
            let status = status(&applied, &pods);
            let (type_, reason, message) = expected;
            assert!(!conditions::holds(&status.conditions, "Ready"), "{expected:?}");
            assert!(conditions::holds(&status.conditions, type_), "{expected:?}: {:?}", status.conditions);
            let ready = conditions::find(&status.conditions, "Ready").unwrap();
            assert_eq!((ready.reason.as_str(), ready.message.as_str()), (reason, message));
        }
    }

    fn stopped(spec: &Value, deployment: Option<Deployment>, claim: Option<&Value>) -> RegistryStatus {
        let mut registry = registry(&json!({}));
        registry.spec = serde_json::from_value(spec.clone()).unwrap();
        let valid = validate(&registry, &Settings::default()).unwrap();
        let volume_claim = claim.map(|claim| serde_json::from_value(claim.clone()).unwrap());
        let applied = Applied { deployment, held: None, volume_claim, refusal: None, sources: FINE };
        of_applied(&registry, &valid, &applied, &[], None, &Access::default(), "2026-01-02T00:00:00Z".parse().unwrap())
    }

    fn told<'a>(status: &'a RegistryStatus, type_: &str) -> Option<(&'a str, &'a str)> {
        conditions::find(&status.conditions, type_).map(|found| (found.status.as_str(), found.message.as_str()))
    }

    /// A claim of a class that waits for its first pod stays pending for as long as there is none.
    #[test]
    fn a_stopped_registry_waits_for_no_volume() {
        let none: Deployment = serde_json::from_value(json!({"metadata": {"generation": 1},
            "spec": {"replicas": 0, "selector": {}, "template": {}}, "status": {"observedGeneration": 1}}))
        .unwrap();
        let pending = json!({"metadata": {"name": "main"}, "status": {"phase": "Pending"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "a", "resources": {"requests": {"storage": "1Gi"}}}});
        let spec = json!({"replicas": 0, "storage": {"persistentVolumeClaim": {"size": "1Gi"}}});
        let status = stopped(&spec, Some(none), Some(&pending));
        assert_eq!(told(&status, "Ready"), Some(("True", "stopped: spec.replicas is 0")));
        assert_eq!(told(&status, "Reconciling"), None);
        let storage = Some(("False", "PersistentVolumeClaim main waits for a volume"));
        assert_eq!(told(&status, "StorageReady"), storage);
    }

    /// A claim made by hand would be in the way later.
    #[test]
    fn a_registry_paused_from_the_start_asks_nobody_for_a_claim() {
        let spec = json!({"paused": true, "storage": {"persistentVolumeClaim": {"size": "1Gi"}}});
        let status = stopped(&spec, None, None);
        assert_eq!(told(&status, "Stalled"), None);
        assert_eq!(told(&status, "Ready"), Some(("False", "nothing is applied while the Registry is paused")));
        let storage = Some(("False", "PersistentVolumeClaim main is made when the Registry is no longer paused"));
        assert_eq!(told(&status, "StorageReady"), storage);
    }

    fn on_s3(replicas: i32, status: &Value) -> Registry {
        let mut registry = registry(status);
        registry.spec =
            serde_json::from_value(json!({"replicas": replicas, "storage": {"s3": {"bucket": "acme-images",
            "region": "eu-central-1", "credentials": {"secretRef": {"name": "s3"}}}}}))
            .unwrap();
        registry
    }

    fn on_store(deployment: Deployment, sources: Sources) -> Applied {
        Applied { deployment: Some(deployment), held: None, volume_claim: None, refusal: None, sources }
    }

    fn answer(reachable: bool) -> Answer {
        let reason = (!reachable).then(|| "AccessDenied".to_owned());
        let message = (!reachable).then(|| "the server says: Access Denied".to_owned());
        Answer { pod: "main-1".into(), told: Ok(Told { place: None, reachable, reason, message, transient: false }) }
    }

    fn busy() -> Answer {
        let (reason, message) = (Some("SlowDown".to_owned()), Some("the server says: slow down".to_owned()));
        let told = Told { place: None, reachable: false, reason, message, transient: true };
        Answer { pod: "main-1".into(), told: Ok(told) }
    }

    #[test]
    fn a_store_that_is_not_reached_is_why_nothing_is_ready() {
        let denied = "s3://acme-images: the server says: Access Denied (credentials from Secret apps/s3)";
        let slow = "s3://acme-images: the server says: slow down (credentials from Secret apps/s3)";
        for (replicas, available, answers, reachable, ready) in [
            (1, 1, vec![busy()], ("False", slow), ("False", slow)),
            (1, 1, vec![answer(true)], ("True", "s3://acme-images is reached"), ("True", "the replica is ready")),
            (1, 0, vec![answer(false)], ("False", denied), ("False", denied)),
            (1, 1, vec![answer(true), answer(false)], ("False", denied), ("False", denied)),
            (
                1,
                1,
                vec![],
                ("Unknown", "there is no pod yet that could tell whether it reaches s3://acme-images"),
                ("True", "the replica is ready"),
            ),
        ] {
            let registry = on_s3(replicas, &json!({}));
            let valid = validate(&registry, &Settings::default()).unwrap();
            let applied = on_store(deployment(available), FINE);
            let status =
                of_applied(&registry, &valid, &applied, &[], Some(&answers), &Access::default(), Timestamp::UNIX_EPOCH);
            assert_eq!(told(&status, "StorageReachable"), Some(reachable));
            assert_eq!(told(&status, "Ready"), Some(ready));
            assert_eq!(told(&status, "StorageReady"), None);
            // What may pass by itself is waited for, and nobody is called.
            assert_eq!(told(&status, "Stalled").is_some(), ready.1 == denied);
            assert_eq!(told(&status, "Reconciling").is_some(), ready.1 == slow);
            assert_eq!(status.summary.unwrap().storage, "s3://acme-images");
            let storage = status.effective.unwrap().storage;
            assert_eq!((storage.credentials_secret.as_deref(), storage.redirect), (Some("s3"), Some(false)));
        }
    }

    fn missing(what: &str) -> Unusable {
        Unusable { reason: "SecretNotFound".into(), message: format!("there is no Secret {what}") }
    }

    /// What runs goes on and is counted as it is, and what is missing is said.
    #[test]
    fn a_missing_secret_is_a_condition() {
        let mut registry = on_s3(2, &json!({"url": "http://before", "replicas": 7, "readyReplicas": 7}));
        registry.spec.tls = Some(serde_json::from_value(json!({"secretRef": {"name": "tls"}})).unwrap());
        let valid = validate(&registry, &Settings::default()).unwrap();
        let of = |sources: Sources, answers: &[Answer]| {
            let held = sources.missing().cloned();
            let applied = Applied { held, ..on_store(deployment(1), sources) };
            of_applied(&registry, &valid, &applied, &[], Some(answers), &Access::default(), Timestamp::UNIX_EPOCH)
        };
        let status = of(
            Sources { certificate: Err(missing("tls")), storage: Err(missing("s3")), auth: Ok(()) },
            &[answer(true)],
        );
        assert_eq!(told(&status, "Ready"), Some(("False", "there is no Secret tls")));
        assert_eq!(told(&status, "Stalled"), Some(("True", "there is no Secret tls")));
        assert_eq!(told(&status, "StorageReachable"), Some(("False", "there is no Secret s3")));
        assert_eq!(told(&status, "CertificateReady"), Some(("False", "there is no Secret tls")));
        assert_eq!(told(&status, "AuthReady"), None, "the spec says nothing of it");
        assert_eq!((status.replicas, status.ready_replicas), (Some(1), Some(1)));
        assert_eq!(status.summary.unwrap().replicas, "1/2");
        assert_eq!((status.url.as_deref(), status.version, status.effective), (Some("http://before"), None, None));
        // Those that run still tell how they reach their store.
        let status = of(Sources { certificate: Err(missing("tls")), ..FINE }, &[answer(true)]);
        assert_eq!(told(&status, "StorageReachable"), Some(("True", "s3://acme-images is reached")));
    }

    fn with_auth(auth: &Value, status: &Value) -> Registry {
        let mut registry = registry(status);
        registry.spec = serde_json::from_value(json!({"storage": {"emptyDir": {}}, "auth": auth})).unwrap();
        registry
    }

    #[test]
    fn what_auth_names_is_a_condition() {
        let registry = with_auth(&json!({"htpasswd": {"secretRef": {"name": "users"}}}), &json!({}));
        let valid = validate(&registry, &Settings::default()).unwrap();
        let of = |auth: Result<(), Unusable>| {
            let sources = Sources { auth, ..FINE };
            let held = sources.missing().cloned();
            let applied = Applied { held, ..on_store(deployment(1), sources) };
            of_applied(&registry, &valid, &applied, &[], Some(&[]), &Access::default(), Timestamp::UNIX_EPOCH)
        };
        let status = of(Err(missing("users")));
        for (type_, holds) in [("AuthReady", "False"), ("Ready", "False"), ("Stalled", "True")] {
            assert_eq!(told(&status, type_), Some((holds, "there is no Secret users")), "{type_}");
        }
        let status = of(Ok(()));
        assert_eq!(told(&status, "AuthReady"), Some(("True", "Secret users has what spec.auth needs")));
        assert_eq!(told(&status, "Ready"), Some(("True", "the replica is ready")));
        // It is known of an earlier spec while this one cannot be applied.
        let known = json!({"conditions": [{"type": "AuthReady", "status": "True", "reason": "Found", "message": "known",
            "observedGeneration": 3, "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        let registry = with_auth(&json!({"htpasswd": {"secretRef": {"name": "users"}}}), &known);
        let status = of_failure(&registry, &Progress::stalled("X", "x"), None, Timestamp::UNIX_EPOCH);
        let found = conditions::find(&status.conditions, "AuthReady").unwrap();
        assert_eq!(found.observed_generation, Some(3));
    }

    #[test]
    fn how_people_are_let_in_is_told_in_short() {
        let users = json!({"secretRef": {"name": "users"}});
        for (auth, expected) in [
            (json!({"anonymous": [{"repositories": ["**"], "actions": ["pull"]}]}), json!({})),
            (json!({ "htpasswd": users }), json!({"method": "htpasswd", "realm": "main.apps"})),
            (
                json!({"token": {"realm": "https://a/token", "service": "s", "issuer": "i", "jwks": {"url": "https://a/keys"}}}),
                json!({"method": "token", "realm": "https://a/token", "issuer": "i", "service": "s"}),
            ),
            (
                json!({"issuer": {"url": "https://r/auth", "htpasswd": users}}),
                json!({"method": "issuer", "realm": "https://r/auth/token", "issuer": "https://r/auth", "service": "main.apps"}),
            ),
        ] {
            let valid = validate(&with_auth(&auth, &json!({})), &Settings::default()).unwrap();
            assert_eq!(json!(effective(&valid).auth), expected);
        }
    }

    #[test]
    fn a_stopped_registry_waits_for_no_secret() {
        let registry = on_s3(0, &json!({}));
        let valid = validate(&registry, &Settings::default()).unwrap();
        let none: Deployment = serde_json::from_value(json!({"metadata": {"generation": 1},
            "spec": {"replicas": 0, "selector": {}, "template": {}}, "status": {"observedGeneration": 1}}))
        .unwrap();
        let applied = on_store(none, Sources { storage: Err(missing("s3")), ..FINE });
        let status = of_applied(&registry, &valid, &applied, &[], Some(&[]), &Access::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(told(&status, "Ready"), Some(("True", "stopped: spec.replicas is 0")));
        assert_eq!(told(&status, "StorageReachable"), Some(("False", "there is no Secret s3")));
    }

    /// What was known of an earlier spec is not said of this one.
    #[test]
    fn what_is_known_keeps_its_generation() {
        let condition = |type_: &str| {
            json!({"type": type_, "status": "True", "reason": "X", "message": "known", "observedGeneration": 3,
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let known = json!({"conditions": [condition("StorageReachable"), condition("CertificateReady")]});
        let status = of_failure(&on_s3(1, &known), &Progress::stalled("X", "x"), None, Timestamp::UNIX_EPOCH);
        let found: Vec<_> = status.conditions.iter().map(|c| (c.type_.as_str(), c.observed_generation)).collect();
        assert_eq!(found, [("Ready", Some(4)), ("Stalled", Some(4)), ("StorageReachable", Some(3))]);
    }

    /// They end while nobody makes them anew, whatever was known of them.
    #[test]
    fn pull_secrets_of_a_stalled_registry_are_not_said_to_be_good() {
        let known = json!({"conditions": [{"type": pull_secrets::CONDITION, "status": "True", "reason": "Written",
            "message": "2 pull secrets are there", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        let registry = with_auth(&json!({"anonymous": [{"repositories": ["**"], "actions": ["pull"]}]}), &known);
        for (progress, expected) in [(Progress::stalled("X", "x"), "Unknown"), (Progress::underway("X", "x"), "True")] {
            let status = of_failure(&registry, &progress, None, Timestamp::UNIX_EPOCH);
            let (found, message) = told(&status, pull_secrets::CONDITION).unwrap();
            assert!(found == expected && message.ends_with("2 pull secrets are there"), "{found}: {message}");
        }
        // What was done before is done, and not forgotten.
        let written = pull_secrets::Written {
            there: vec!["a/x".into()],
            left: vec![],
            problems: vec![pull_secrets::Problem { reason: "NameTaken", message: "taken".into() }],
            revisit: Timestamp::MAX,
        };
        let tokens = Tokens { keys: None, pull_secrets: Some(written) };
        let status = of_failure(&registry, &Progress::stalled("X", "x"), Some(&tokens), Timestamp::UNIX_EPOCH);
        assert_eq!(told(&status, pull_secrets::CONDITION), Some(("False", "taken")));
        assert_eq!(status.pull_secrets, ["a/x"]);
    }
}
