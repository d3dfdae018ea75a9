//! What is wrong with an object store, and what is left out of one.

use berth_crds::Registry;
use serde_json::{Value, json};

use crate::{
    Settings,
    problem::Problems,
    registry::validate::{ValidCredentials, ValidRegistry, ValidServiceAccount, validate},
};

fn valid(spec: &Value) -> Result<ValidRegistry, Problems> {
    let registry: Registry = serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
        "metadata": {"name": "main"}, "spec": spec}))
    .unwrap();
    validate(&registry, &Settings::default())
}

/// The smallest storage on a driver, with `fields` over it; null takes one away.
fn with(driver: &str, fields: &Value) -> Value {
    let secret = json!({"secretRef": {"name": "store"}});
    let mut storage = match driver {
        "s3" => json!({"bucket": "acme", "region": "eu-central-1", "credentials": secret}),
        "azure" => json!({"accountName": "acme", "container": "images", "credentials": secret}),
        "gcs" => json!({"bucket": "acme", "credentials": secret}),
        "swift" => json!({"authUrl": "https://keystone.example/v3", "container": "images", "credentials": secret}),
        _ => json!({"bucket": "acme", "region": "oss-eu-central-1", "credentials": secret}),
    };
    for (key, value) in fields.as_object().unwrap() {
        match value {
            Value::Null => drop(storage.as_object_mut().unwrap().remove(key)),
            value => storage[key] = value.clone(),
        }
    }
    json!({ driver: storage })
}

/// Checks the one problem that a driver has with `fields` over its smallest storage, or that it has none.
#[expect(clippy::needless_pass_by_value, reason = "a row of a table")]
fn check(driver: &str, fields: Value, expected: &str) {
    let found = valid(&json!({"storage": with(driver, &fields)})).map_err(|problems| problems.lines()).err();
    let found = found.unwrap_or_default();
    if expected.is_empty() {
        assert!(found.is_empty(), "{driver} {fields}: {found:?}");
    } else {
        let expected = format!("spec.storage.{driver}.{expected}");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{driver} {fields}: {expected} in {found:?}");
    }
}

#[test]
fn every_problem_is_named_with_its_field() {
    const DRIVERS: [&str; 5] = ["s3", "azure", "gcs", "swift", "oss"];
    for driver in DRIVERS {
        check(driver, json!({}), "");
        check(driver, json!({"rootDirectory": "/team/images"}), "");
        check(driver, json!({"rootDirectory": "team/../images"}), "rootDirectory: must be a path such as");
        check(driver, json!({"ca": {}}), "ca: must have exactly one of configMapRef and secretRef");
        check(driver, json!({"ca": {"configMapRef": {"name": "a/b"}}}), "ca.configMapRef.name: must be the name of");
        check(driver, json!({"ca": {"secretRef": {"name": "a", "key": "a b"}}}), "ca.secretRef.key: must be a key");
        check(
            driver,
            json!({"credentials": {"secretRef": {"name": "a/b"}}}),
            "credentials.secretRef.name: must be the",
        );
        check(driver, json!({"credentials": null}), "credentials: ");
    }
    for driver in ["s3", "azure", "gcs", "oss"] {
        check(driver, json!({"endpoint": "store.example"}), "endpoint: must be an address such as");
        check(driver, json!({"endpoint": "https://me@store.example"}), "endpoint: must be an address such as");
        let two = json!({"secretRef": {"name": "a"}, "workloadIdentity": {}});
        check(driver, json!({ "credentials": two }), "credentials: must have exactly one of secretRef");
    }
    for driver in ["s3", "gcs", "oss"] {
        check(driver, json!({"bucket": "s3://acme"}), "bucket: must be the name alone");
    }
    for (driver, size) in [
        ("s3", "4Mi"),
        ("s3", "65Mi"),
        ("gcs", "16M"),
        ("gcs", "65Mi"),
        ("swift", "1000Ki"),
        ("swift", "65Mi"),
        ("oss", "1Mi"),
        ("oss", "65Mi"),
    ] {
        check(driver, json!({ "chunkSize": size }), "chunkSize: must be ");
    }
}

#[test]
fn what_is_peculiar_to_amazon() {
    check("s3", json!({"chunkSize": "10MB"}), "chunkSize: \"10MB\" has no known unit");
    check("s3", json!({"region": null}), "region: is missing: name the bucket's region, such as eu-central-1, or the");
    check("s3", json!({"region": null, "endpoint": "https://minio:9000"}), "");
    check("s3", json!({"region": "eu central"}), "region: must be the name of a region");
    for address in
        ["https://a:b", "https://a:0", "https://a:99999", "https://a:1:2", "https://", "https://-a", "https://[a"]
    {
        check("s3", json!({ "endpoint": address }), "endpoint: must be an address such as");
        check("swift", json!({ "authUrl": address }), "authUrl: must be an address such as");
        check("oss", json!({ "endpoint": address }), "endpoint: must be an address such as");
    }
    for address in ["https://a:65535/b", "http://10.0.0.1:80", "https://[fd00::1]:9000/", "https://a_b.example."] {
        check("s3", json!({ "endpoint": address }), "");
    }
    check("s3", json!({"redirectEndpoint": "minio"}), "redirectEndpoint: must be an address");
    check("s3", json!({"redirectEndpoint": "https://minio/a"}), "redirectEndpoint: must be an address");
    check("s3", json!({"redirectEndpoint": "https://minio:9000/"}), "");
    check("s3", json!({"accelerate": true, "useDualStack": true}), "");
    check("s3", json!({"accelerate": true, "useFips": true}), "accelerate: goes neither with useFips nor");
    check("s3", json!({"accelerate": true, "pathStyle": true}), "accelerate: goes neither with useFips nor");
    check(
        "s3",
        json!({"endpoint": "https://minio", "useFips": true}),
        "endpoint: stands beside useDualStack, useFips or",
    );
    check("s3", json!({"storageClass": "cold"}), "storageClass: must be the name of a storage class");
    check(
        "s3",
        json!({"credentials": {"workloadIdentity": {"roleArn": "registry"}}}),
        "credentials.workloadIdentity.roleArn: must be that of a role",
    );
}

#[test]
fn what_is_peculiar_to_azure() {
    check(
        "azure",
        json!({"accountName": null, "credentials": {"workloadIdentity": {}}}),
        "accountName: is missing: name the storage account",
    );
    check("azure", json!({"accountName": null}), "");
    check("azure", json!({"accountName": "Acme"}), "accountName: must be that of a storage account");
    check("azure", json!({"container": "a/b"}), "container: must be the name of a container");
    check("azure", json!({"realm": "https://a"}), "realm: must be a domain");
    let plain = "http://acme.example";
    check("azure", json!({"endpoint": plain}), "");
    for credentials in [
        json!({"workloadIdentity": {}}),
        json!({"clientSecret": {"clientId": "i", "tenantId": "t", "secretRef": {"name": "a"}}}),
    ] {
        let over = |endpoint: &str| json!({"endpoint": endpoint, "credentials": credentials});
        check("azure", over(plain), "endpoint: must begin with https:// beside clientSecret and workloadIdentity");
        check("azure", over("https://acme.example"), "");
    }
    check(
        "azure",
        json!({"credentials": {"clientSecret": {"clientId": "a b", "tenantId": "t", "secretRef": {"name": "a"}}}}),
        "credentials.clientSecret.clientId: must be an id",
    );
    check(
        "azure",
        json!({"credentials": {"workloadIdentity": {"tenantId": "t"}}}),
        "credentials.workloadIdentity.tenantId: goes with clientId",
    );
}

#[test]
fn what_is_peculiar_to_the_others() {
    check(
        "gcs",
        json!({"credentials": {"workloadIdentity": {"serviceAccount": "registry"}}}),
        "credentials.workloadIdentity.serviceAccount: must be the address",
    );
    check("gcs", json!({"endpoint": "https://store.example/a"}), "endpoint: must be an address such as");
    for (endpoint, expected) in [
        ("https://storage-acme.p.googleapis.com", ""),
        ("https://storage.googleapis.com:443/", ""),
        ("http://storage.googleapis.com", "endpoint: must be one of Google's own"),
        ("https://googleapis.com.example", "endpoint: must be one of Google's own"),
    ] {
        check("gcs", json!({ "endpoint": endpoint }), "");
        check("gcs", json!({"endpoint": endpoint, "credentials": {"workloadIdentity": {}}}), expected);
    }
    check("swift", json!({"authUrl": "keystone"}), "authUrl: must be an address such as");
    check("swift", json!({"authVersion": 300}), "authVersion: must be 1, 2 or 3");
    check("swift", json!({"container": "a/b"}), "container: must be the name alone");
    check(
        "oss",
        json!({"credentials": {"workloadIdentity": {"roleName": "acs:ram::1:role/a"}}}),
        "credentials.workloadIdentity.roleName: must be the name of a RAM role alone",
    );
    check("oss", json!({"bucket": "Acme_images"}), "bucket: must be the name alone, 3 to 63 of");
    check("oss", json!({"endpoint": "https://oss.example/a"}), "endpoint: must be an address such as");
    check("oss", json!({"endpoint": "https://oss.example", "internal": true}), "endpoint: stands beside internal");
}

#[test]
fn a_bucket_is_not_deleted() {
    for driver in ["s3", "azure", "gcs", "swift", "oss"] {
        let storage = with(driver, &json!({}));
        let problems = valid(&json!({"deletionPolicy": "Delete", "storage": storage})).unwrap_err().lines();
        assert!(
            problems[0].starts_with("spec.deletionPolicy: Delete does not go with an object store"),
            "{problems:?}"
        );
        assert!(valid(&json!({"replicas": 9, "storage": storage})).is_ok(), "{driver}");
    }
}

#[test]
fn where_the_content_lies() {
    for (driver, fields, expected) in [
        ("s3", json!({}), "s3://acme"),
        ("s3", json!({"rootDirectory": "/team/images"}), "s3://acme/team/images"),
        ("azure", json!({}), "azure://acme/images"),
        ("azure", json!({"accountName": null}), "azure://images"),
        ("gcs", json!({}), "gs://acme"),
        ("swift", json!({}), "swift://images"),
        ("oss", json!({"rootDirectory": "a"}), "oss://acme/a"),
    ] {
        let registry = valid(&json!({"storage": with(driver, &fields)})).unwrap();
        assert_eq!(registry.storage.object_store().unwrap().place(), expected);
    }
}

#[test]
fn which_keys_a_secret_must_have() {
    let client = json!({"clientSecret": {"clientId": "i", "tenantId": "t", "secretRef": {"name": "store"}}});
    for (driver, fields, required, optional) in [
        ("s3", json!({}), vec!["accesskey", "secretkey"], vec!["sessiontoken"]),
        ("azure", json!({}), vec!["accountkey"], vec![]),
        ("azure", json!({"accountName": null}), vec!["connectionstring"], vec![]),
        ("azure", json!({ "credentials": client }), vec!["secret"], vec![]),
        ("gcs", json!({}), vec!["keyfile"], vec![]),
        ("swift", json!({}), vec!["username", "password"], vec!["secretkey", "accesskey"]),
        ("swift", json!({"username": "me"}), vec!["password"], vec!["secretkey", "accesskey"]),
        ("oss", json!({}), vec!["accesskeyid", "accesskeysecret"], vec![]),
    ] {
        let registry = valid(&json!({"storage": with(driver, &fields)})).unwrap();
        let secret = registry.storage.object_store().unwrap().secret().unwrap();
        assert_eq!((&secret.required, &secret.optional), (&required, &optional), "{driver} {fields}");
        assert!(secret.field.ends_with("secretRef"), "{}", secret.field);
    }
}

/// The identity is given by the account that Berth makes; one that exists is for whoever made it to annotate.
#[test]
fn identities_are_annotations_of_the_account_that_is_made() {
    for (driver, identity, annotations, labels) in [
        ("s3", json!({}), json!({}), json!({})),
        (
            "s3",
            json!({"roleArn": "arn:aws:iam::1:role/a"}),
            json!({"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/a"}),
            json!({}),
        ),
        ("azure", json!({}), json!({}), json!({})),
        (
            "azure",
            json!({"clientId": "i"}),
            json!({"azure.workload.identity/client-id": "i"}),
            json!({"azure.workload.identity/use": "true"}),
        ),
        (
            "azure",
            json!({"clientId": "i", "tenantId": "t"}),
            json!({"azure.workload.identity/client-id": "i", "azure.workload.identity/tenant-id": "t"}),
            json!({"azure.workload.identity/use": "true"}),
        ),
        (
            "gcs",
            json!({"serviceAccount": "a@b.example"}),
            json!({"iam.gke.io/gcp-service-account": "a@b.example"}),
            json!({}),
        ),
        ("oss", json!({}), json!({}), json!({})),
        (
            "oss",
            json!({"roleName": "acme-registry"}),
            json!({"pod-identity.alibabacloud.com/role-name": "acme-registry"}),
            json!({"pod-identity.alibabacloud.com/injection": "on"}),
        ),
    ] {
        let storage = with(driver, &json!({"credentials": {"workloadIdentity": identity}}));
        let account = json!({"annotations": {"team": "images"}});
        let registry = valid(&json!({"storage": storage, "serviceAccount": account, "podLabels": {"a": "b"}})).unwrap();
        let store = registry.storage.object_store().unwrap();
        assert!(matches!(store.credentials, ValidCredentials::Identity(_)) && store.secret().is_none());
        let ValidServiceAccount::Own(found) = &registry.service_account else { panic!("{driver}") };
        let (mut expected, mut labelled) = (annotations.clone(), labels.clone());
        expected["team"] = json!("images");
        labelled["a"] = json!("b");
        assert_eq!((json!(found), json!(registry.pod_labels)), (expected, labelled), "{driver} {identity}");

        let mine = valid(&json!({"storage": storage, "serviceAccount": {"name": "mine"}}));
        let taken = valid(&json!({"storage": storage, "serviceAccount": {"annotations": annotations}}));
        match annotations.as_object().unwrap().keys().next() {
            None => assert!(mine.is_ok() && taken.is_ok(), "{driver}"),
            Some(key) => {
                let mine = mine.unwrap_err().to_string();
                assert!(mine.contains(&format!("give ServiceAccount mine the annotation {key}")), "{mine}");
                for (label, value) in labels.as_object().unwrap() {
                    assert!(mine.contains(&format!("the label {label}: {value}")), "{mine}");
                }
                let taken = taken.unwrap_err().to_string();
                assert!(taken.starts_with("spec.serviceAccount.annotations: must leave out "), "{taken}");
            }
        }
    }
}
