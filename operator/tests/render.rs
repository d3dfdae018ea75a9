//! `render` over every example, and over files that are wrong.
#![expect(clippy::unwrap_used, reason = "a test may stop at what it does not expect")]

use std::{fs, path::Path};

use berth_config::Config;
use berth_crds::Registry;
use berth_operator::{
    Settings,
    offline::{Source, render},
    registry::{
        render::build_config,
        validate::{ObjectKind, ValidAuth, ValidFile, validate},
    },
};
use serde_json::{Value, json};

/// The Registry that the policies among the examples are for.
const MAIN: &str = "registry.yaml";

fn examples() -> Vec<Source> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let sources: Vec<_> = files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "yaml"))
        .map(|file| Source {
            text: fs::read_to_string(&file).unwrap(),
            file: file.file_name().unwrap().to_str().unwrap().to_owned(),
        })
        .collect();
    assert!(sources.len() >= 31, "the examples are not where they were");
    sources
}

/// Every Registry of every example, by itself.
fn registries() -> Vec<Source> {
    let of = |example: &Source| {
        let documents = example.text.split("\n---\n").filter(|text| text.contains("kind: Registry\n"));
        let source = |text: &str| Source { file: example.file.clone(), text: format!("{text}\n") };
        documents.map(source).collect::<Vec<_>>()
    };
    examples().iter().flat_map(of).collect()
}

/// What the operator would apply for an example; of a policy, what it adds to its Registry.
fn rendered(example: &Source, main: &Source) -> String {
    let settings = Settings::default();
    if !example.text.contains("kind: GCPolicy") {
        return render(std::slice::from_ref(example), &settings).unwrap();
    }
    let both = render(&[main.clone(), example.clone()], &settings).unwrap();
    let alone = render(std::slice::from_ref(main), &settings).unwrap();
    both.strip_prefix(&alone).unwrap().to_owned()
}

#[test]
fn every_example() {
    let examples = examples();
    let main = examples.iter().find(|example| example.file == MAIN).unwrap();
    for example in &examples {
        let name = example.file.trim_end_matches(".yaml");
        // A release changes the tag of the default image, and should not change every snapshot.
        let text = rendered(example, main)
            .replace(concat!("berth-registry:", env!("CARGO_PKG_VERSION")), "berth-registry:VERSION");
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn every_example_says_when_to_use_it() {
    for example in examples() {
        assert!(example.text.starts_with("# "), "{}", example.file);
    }
}

/// The server's parser reads back exactly what the operator wrote, and has nothing to say about it.
#[test]
fn every_configuration_reads_back() {
    for example in &registries() {
        let registry: Registry = serde_saphyr::from_str(&example.text).unwrap();
        let config = build_config(&validate(&registry, &Settings::default()).unwrap());
        let loaded = Config::load(&config.to_yaml(), []).unwrap();
        assert_eq!(loaded.config, config, "{}", example.file);
        assert!(loaded.warnings.is_empty(), "{}: {:?}", example.file, loaded.warnings);
    }
}

/// The restricted Pod Security standard, and the rest of what every pod of ours keeps.
#[test]
fn every_pod_is_restricted() {
    let examples = examples();
    let main = examples.iter().find(|example| example.file == MAIN).unwrap();
    for example in &examples {
        let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered(example, main)).unwrap();
        let pods: Vec<&Value> = objects.iter().filter_map(pod_of).collect();
        assert!(!pods.is_empty(), "{}", example.file);
        for pod in pods {
            let security = &pod["securityContext"];
            assert_eq!(security["runAsNonRoot"], true);
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
            assert_eq!(security["fsGroupChangePolicy"], "OnRootMismatch");
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(pod["enableServiceLinks"], false);
            for key in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
                assert_eq!(pod[key], false, "{key}: what is not said is left as somebody else sets it");
            }
            for container in pod["containers"].as_array().unwrap() {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false);
                assert_eq!(security["readOnlyRootFilesystem"], true);
                assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
            }
        }
    }
}

/// Credentials reach a pod as files that the node keeps up to date: no copy of one is anywhere else, and no file is
/// mounted by a path of its own, which would stay as it was.
#[test]
fn credentials_are_files() {
    let mut with_secret = 0;
    for example in &registries() {
        let registry: Registry = serde_saphyr::from_str(&example.text).unwrap();
        let valid = validate(&registry, &Settings::default()).unwrap();
        let text = render(std::slice::from_ref(example), &Settings::default()).unwrap();
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert!(objects.iter().all(|object| object["kind"] != "Secret"), "{}", example.file);
        let pod = objects.iter().find_map(pod_of).unwrap();
        let container = &pod["containers"][0];
        assert!(container["env"].is_null() && container["envFrom"].is_null(), "{}", example.file);
        for mount in container["volumeMounts"].as_array().unwrap() {
            assert!(mount["subPath"].is_null(), "{}: {mount}", example.file);
        }
        if let Some(auth) = &valid.auth {
            files_of_auth(&example.file, auth, pod);
        }
        let Some(store) = valid.storage.object_store() else { continue };
        let volumes = pod["volumes"].as_array().unwrap();
        assert_eq!(volumes.len(), 1, "{}: no content is in the pod", example.file);
        let projected = &volumes[0]["projected"];
        assert_eq!(projected["defaultMode"], 0o440);
        let Some(secret) = store.secret() else { continue };
        with_secret += 1;
        let sources = projected["sources"].as_array().unwrap();
        for key in &secret.required {
            let item = serde_json::json!({"key": key, "path": format!("storage/{key}")});
            let holds =
                |source: &&Value| source["secret"]["items"].as_array().is_some_and(|items| items.contains(&item));
            let source = sources.iter().find(holds).unwrap_or_else(|| panic!("{}: {key}", example.file));
            assert_eq!(source["secret"]["name"], secret.name);
            assert!(source["secret"]["optional"].is_null(), "a pod does not start without {key}");
        }
    }
    assert!(with_secret >= 5, "{with_secret}");
}

/// What `spec.auth` names is in the volume of the configuration, where the configuration says; the keys that sign tokens are a
/// volume of their own, whose Secret a pod waits for.
fn files_of_auth(example: &str, auth: &ValidAuth, pod: &Value) {
    let volumes = pod["volumes"].as_array().unwrap();
    let sources = volumes[0]["projected"]["sources"].as_array().unwrap();
    for ValidFile { kind, name, key, path, .. } in auth.files() {
        let source = match kind {
            ObjectKind::Secret => "secret",
            ObjectKind::ConfigMap => "configMap",
        };
        let expected = json!({source: {"name": name, "items": [{"key": key, "path": path}]}});
        assert!(sources.contains(&expected), "{example}: {expected}");
    }
    let has_keys = volumes.iter().any(|volume| volume["name"] == "token-keys" && volume["secret"]["optional"] == false);
    assert_eq!(has_keys, auth.issuer().is_some(), "{example}");
    let asks_the_cluster = auth.issuer().is_some_and(|issuer| issuer.service_accounts.is_some());
    let has_token = sources.iter().any(|source| source["serviceAccountToken"].is_object());
    assert_eq!(
        has_token, asks_the_cluster,
        "{example}: a token of the pod is there where it is needed, and nowhere else"
    );
}

fn pod_of(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "Deployment" | "Job" => Some(&object["spec"]["template"]["spec"]),
        "CronJob" => Some(&object["spec"]["jobTemplate"]["spec"]["template"]["spec"]),
        _ => None,
    }
}

#[test]
fn what_is_wrong_is_named_with_file_resource_and_field() {
    let registry = |spec: &str| {
        format!("apiVersion: berth.dev/v1alpha1\nkind: Registry\nmetadata: {{name: main}}\nspec: {spec}\n")
    };
    let policy = |spec: &str| {
        format!("apiVersion: berth.dev/v1alpha1\nkind: GCPolicy\nmetadata: {{name: nightly}}\nspec: {spec}\n")
    };
    for (text, expected) in [
        ("a: [".to_owned(), "a.yaml: "),
        ("a: b".to_owned(), "a.yaml: document 1 has no apiVersion and kind"),
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n".to_owned(),
            "a.yaml: v1 Secret s: render knows the kinds Registry and GCPolicy of berth.dev/v1alpha1",
        ),
        (registry("{storage: {pvc: {size: 1Gi}}}"), "a.yaml: Registry main: spec.storage.pvc: there is no such field"),
        (
            registry("{replicas: many, storage: {emptyDir: {}}}"),
            "a.yaml: Registry main: spec.replicas: invalid type: string \"many\", expected i32",
        ),
        (
            registry("{replicas: 2, storage: {emptyDir: {}}, service: {nodePort: 1}}"),
            "a.yaml: Registry main: spec.replicas: 2 replicas cannot share an emptyDir: use one replica, a \
             persistentVolumeClaim with accessModes [ReadWriteMany], or an object store (spec.storage.s3, azure, gcs, swift, \
             oss)\na.yaml: Registry main: spec.service.nodePort: needs type NodePort or LoadBalancer: set type, or leave out \
             nodePort",
        ),
        (
            policy("{registryRef: {name: main}, schedule: '@daily'}"),
            "a.yaml: GCPolicy nightly: spec.registryRef.name: Registry main is in none of the files: add its file",
        ),
        (
            format!(
                "{}---\n{}",
                registry("{replicas: 2, storage: {persistentVolumeClaim: {size: 1Gi, accessModes: [ReadWriteMany]}}}"),
                policy("{registryRef: {name: main}, schedule: '@daily'}")
            ),
            "a.yaml: GCPolicy nightly: spec.registryRef.name: Registry main has several replicas on one volume, where a \
             collection is not safe while they serve: set its spec.replicas to 1",
        ),
        (
            format!(
                "{}---\n{}",
                registry("{storage: {s3: {bucket: b, region: r, credentials: {workloadIdentity: {}}}}}"),
                policy("{registryRef: {name: main}, schedule: '@daily'}")
            ),
            "a.yaml: GCPolicy nightly: spec.registryRef.name: the content of Registry main is on an object store, s3://b, \
             where this version of Berth cannot collect garbage while it is served: nothing is run and nothing deleted",
        ),
    ] {
        let found = render(&[Source { file: "a.yaml".into(), text }], &Settings::default()).unwrap_err().to_string();
        assert!(found.starts_with(expected), "expected {expected:?}, found {found:?}");
    }
}

/// The same input gives the same text: nothing random and no clock is in it.
#[test]
fn rendering_is_repeatable() {
    for example in &registries() {
        let render = || render(std::slice::from_ref(example), &Settings::default()).unwrap();
        assert_eq!(render(), render());
    }
}
