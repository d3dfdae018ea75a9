//! The rules of `spec.storage.{s3,azure,gcs,swift,oss}`, and of what stands beside them.

use serde_json::{Value, json};

use super::{check, refusal, registry, validate_cel, validate_cel_update};

/// The smallest storage on each driver, and where its content lies.
fn smallest() -> [(&'static str, Value, &'static str); 5] {
    let secret = json!({"secretRef": {"name": "store"}});
    [
        ("s3", json!({"bucket": "acme-images", "region": "eu-central-1", "credentials": secret}), "bucket"),
        ("azure", json!({"accountName": "acme", "container": "images", "credentials": secret}), "container"),
        ("gcs", json!({"bucket": "acme-images", "credentials": secret}), "bucket"),
        (
            "swift",
            json!({"authUrl": "https://keystone.example/v3", "container": "images", "credentials": secret}),
            "container",
        ),
        ("oss", json!({"bucket": "acme-images", "region": "oss-eu-central-1", "credentials": secret}), "bucket"),
    ]
}

/// `fields` of a driver over its smallest storage; null takes one away.
fn with(driver: &str, fields: &Value) -> Value {
    let (_, mut storage, _) = smallest().into_iter().find(|(name, ..)| *name == driver).unwrap();
    for (key, value) in fields.as_object().unwrap() {
        match value {
            Value::Null => drop(storage.as_object_mut().unwrap().remove(key)),
            value => storage[key] = value.clone(),
        }
    }
    json!({ driver: storage })
}

fn created(spec: &Value) -> String {
    refusal(validate_cel(&registry(spec)))
}

fn changed(old: &Value, new: &Value) -> String {
    refusal(validate_cel_update(&registry(&json!({"storage": new})), &registry(&json!({"storage": old}))))
}

#[test]
fn every_driver_serves_any_number_of_replicas_and_is_never_deleted() {
    for (driver, ..) in smallest() {
        let storage = with(driver, &json!({}));
        check(driver, &created(&json!({"storage": storage})), "");
        check(driver, &created(&json!({"storage": storage, "replicas": 50})), "");
        check(driver, &created(&json!({"storage": storage, "deletionPolicy": "Retain"})), "");
        let deleted = created(&json!({"storage": storage, "deletionPolicy": "Delete"}));
        check(driver, &deleted, "deletionPolicy Delete does not go with an object store");
        let mut two = storage.clone();
        two["emptyDir"] = json!({});
        check(driver, &created(&json!({"storage": two})), "storage names two places: keep exactly one");
    }
}

#[test]
fn every_driver_is_checked() {
    let secret = json!({"secretRef": {"name": "store"}});
    for (driver, ..) in smallest() {
        let of = |fields: Value| created(&json!({"storage": with(driver, &fields)}));
        check(driver, &of(json!({"credentials": null})), "credentials are missing: name a Secret");
        check(
            driver,
            &of(json!({"credentials": {"secretRef": {"name": "other/store"}}})),
            "name must be that of a Secret",
        );
        check(driver, &of(json!({"rootDirectory": "team/images"})), "");
        check(driver, &of(json!({"rootDirectory": "/team"})), "");
        for path in ["team/", "/", "../team", "a//b", "a b"] {
            check(path, &of(json!({"rootDirectory": path})), "rootDirectory must be a path such as");
        }
        check(driver, &of(json!({"ca": {"configMapRef": {"name": "ca"}}, "redirect": true})), "");
        check(driver, &of(json!({"ca": {"secretRef": {"name": "ca", "key": "tls.crt"}}})), "");
        check(driver, &of(json!({"ca": {}})), "authorities must be from one place");
        let two = json!({"configMapRef": {"name": "ca"}, "secretRef": {"name": "ca"}});
        check(driver, &of(json!({ "ca": two })), "authorities must be from one place");
        check(driver, &of(json!({"credentials": secret})), "");
    }
}

/// Checks what each driver says of fields over its smallest storage.
fn check_all(rows: &[(&str, Value, &str)]) {
    for (driver, fields, expected) in rows {
        let found = created(&json!({"storage": with(driver, fields)}));
        check(&format!("{driver} {fields}"), &found, expected);
    }
}

#[test]
fn what_is_peculiar_to_amazon() {
    let rows = [
        ("s3", json!({"bucket": "s3://acme"}), "bucket must be the name alone, without a scheme"),
        ("s3", json!({"region": null}), "region is missing: name the bucket's region"),
        ("s3", json!({"region": null, "endpoint": "https://minio.store.svc:9000"}), ""),
        ("s3", json!({"endpoint": "https://[fd00::1]:65535/a"}), ""),
        ("s3", json!({"endpoint": "https://a:b"}), "endpoint must be an address such as"),
        ("s3", json!({"endpoint": "https://a:99999"}), "endpoint must be an address such as"),
        ("s3", json!({"redirectEndpoint": "https://minio.example:9000/"}), ""),
        ("s3", json!({"redirectEndpoint": "https://minio.example/a"}), "redirectEndpoint must be an address such as"),
        ("s3", json!({"accelerate": true, "useFips": false, "useDualStack": true}), ""),
        ("s3", json!({"accelerate": true, "useFips": true}), "accelerate goes neither with useFips nor with pathStyle"),
        (
            "s3",
            json!({"accelerate": true, "pathStyle": true}),
            "accelerate goes neither with useFips nor with pathStyle",
        ),
        ("s3", json!({"chunkSize": "64Mi"}), ""),
        ("s3", json!({"endpoint": "minio:9000"}), "endpoint must be an address such as"),
        ("s3", json!({"endpoint": "https://me:pass@minio"}), "endpoint must be an address such as"),
        ("s3", json!({"redirectEndpoint": "minio"}), "redirectEndpoint must be an address such as"),
        ("s3", json!({"endpoint": "https://minio", "accelerate": true}), "choose among Amazon's own addresses"),
        ("s3", json!({"endpoint": "https://minio", "useFips": false}), ""),
        ("s3", json!({"chunkSize": "5Mi"}), ""),
        ("s3", json!({"chunkSize": "5M"}), "chunkSize must be a quantity from 5Mi to 64Mi"),
        ("s3", json!({"chunkSize": "65Mi"}), "chunkSize must be a quantity from 5Mi to 64Mi"),
        ("s3", json!({"chunkSize": "large"}), "chunkSize must be a quantity from 5Mi to 64Mi"),
        ("s3", json!({"storageClass": "standard"}), "storageClass must be the name of a storage class of objects"),
        ("s3", json!({"encryption": {}}), ""),
        ("s3", json!({"encryption": {"keyId": "alias/images"}}), ""),
        ("s3", json!({"credentials": {}}), "set exactly one of secretRef and workloadIdentity"),
        ("s3", json!({"credentials": {"secretRef": {"name": "a"}, "workloadIdentity": {}}}), "set exactly one of"),
        ("s3", json!({"credentials": {"workloadIdentity": {}}}), ""),
        ("s3", json!({"credentials": {"workloadIdentity": {"roleArn": "arn:aws-cn:iam::123456789012:role/a/b"}}}), ""),
        ("s3", json!({"credentials": {"workloadIdentity": {"roleArn": "registry"}}}), "roleArn must be that of a role"),
    ];
    check_all(&rows);
}

#[test]
fn what_is_peculiar_to_azure() {
    let rows = [
        ("azure", json!({"accountName": null}), ""),
        (
            "azure",
            json!({"accountName": null, "credentials": {"workloadIdentity": {}}}),
            "accountName is missing: name the storage account",
        ),
        ("azure", json!({"container": "Images"}), "container must be the name of a container"),
        ("azure", json!({"container": "$root"}), ""),
        ("azure", json!({"accountName": "acme.blob"}), "accountName must be that of a storage account"),
        ("azure", json!({"realm": "core.chinacloudapi.cn", "endpoint": "http://127.0.0.1:10000/acme"}), ""),
        (
            "azure",
            json!({"endpoint": "http://acme.example", "credentials": {"workloadIdentity": {}}}),
            "endpoint must begin with https:// beside clientSecret and workloadIdentity",
        ),
        (
            "azure",
            json!({"endpoint": "http://acme.example", "credentials": {"clientSecret": {
                "clientId": "i", "tenantId": "t", "secretRef": {"name": "a"}}}}),
            "endpoint must begin with https:// beside clientSecret and workloadIdentity",
        ),
        ("azure", json!({"endpoint": "https://acme.example", "credentials": {"workloadIdentity": {}}}), ""),
        ("azure", json!({"credentials": {}}), "set exactly one of secretRef, clientSecret and workloadIdentity"),
        (
            "azure",
            json!({"credentials": {"workloadIdentity": {}, "secretRef": {"name": "a"}}}),
            "set exactly one of secretRef, clientSecret and workloadIdentity",
        ),
        (
            "azure",
            json!({"credentials": {"clientSecret": {"clientId": "i", "tenantId": "t", "secretRef": {"name": "a"}}}}),
            "",
        ),
        ("azure", json!({"credentials": {"workloadIdentity": {"tenantId": "t"}}}), "tenantId goes with clientId"),
        ("azure", json!({"credentials": {"workloadIdentity": {"clientId": "a b"}}}), "clientId must be an id"),
    ];
    check_all(&rows);
}

#[test]
fn what_is_peculiar_to_the_others() {
    let secret = json!({"secretRef": {"name": "store"}});
    let rows = [
        ("gcs", json!({"chunkSize": "256Ki"}), ""),
        ("gcs", json!({"chunkSize": "300Ki"}), "chunkSize must be a multiple of 256Ki"),
        ("gcs", json!({"chunkSize": "16M"}), "chunkSize must be a multiple of 256Ki"),
        ("gcs", json!({"chunkSize": "0"}), "chunkSize must be a multiple of 256Ki"),
        ("gcs", json!({"chunkSize": "65Mi"}), "chunkSize must be a multiple of 256Ki up to 64Mi"),
        ("gcs", json!({"endpoint": "https://store.example/a"}), "endpoint must be an address such as"),
        ("gcs", json!({"endpoint": "https://store.example"}), ""),
        (
            "gcs",
            json!({"endpoint": "https://store.example", "credentials": {"workloadIdentity": {}}}),
            "endpoint must be one of Google's own",
        ),
        (
            "gcs",
            json!({"endpoint": "https://storage-acme.p.googleapis.com", "credentials": {"workloadIdentity": {}}}),
            "",
        ),
        ("gcs", json!({"credentials": {}}), "set exactly one of secretRef and workloadIdentity"),
        ("gcs", json!({"credentials": {"workloadIdentity": {"serviceAccount": "a@b.iam.gserviceaccount.com"}}}), ""),
        (
            "gcs",
            json!({"credentials": {"workloadIdentity": {"serviceAccount": "a"}}}),
            "serviceAccount must be the address",
        ),
        ("swift", json!({"authUrl": "keystone"}), "authUrl must be an address such as"),
        ("swift", json!({"authVersion": 3, "tenant": "acme", "domain": "Default", "endpointType": "Internal"}), ""),
        ("swift", json!({"authVersion": 4}), "authVersion must be 1, 2 or 3"),
        ("swift", json!({"chunkSize": "1023Ki"}), "chunkSize must be a quantity from 1Mi to 64Mi"),
        ("swift", json!({"container": "a/b"}), "container must be the name alone"),
        ("oss", json!({"endpoint": "https://oss.example", "encrypt": true}), ""),
        ("oss", json!({"endpoint": "https://oss.example", "internal": true}), "internal chooses among Alibaba's own"),
        ("oss", json!({"credentials": {}}), "set exactly one of secretRef and workloadIdentity"),
        (
            "oss",
            json!({"credentials": {"workloadIdentity": {"roleName": "a/b"}}}),
            "roleName must be the name of a RAM role",
        ),
        ("oss", json!({"bucket": "Acme_images"}), "bucket must be the name alone, 3 to 63 of"),
        ("oss", json!({"endpoint": "https://oss.example/a"}), "endpoint must be an address such as"),
        ("oss", json!({"credentials": secret, "chunkSize": "4Mi"}), "chunkSize must be a quantity from 5Mi to 64Mi"),
    ];
    check_all(&rows);
}

#[test]
fn content_stays_where_it_is() {
    for (driver, _, place) in smallest() {
        let old = with(driver, &json!({"rootDirectory": "a"}));
        let to = |fields: Value| changed(&old, &with(driver, &fields));
        check(driver, &to(json!({"rootDirectory": "a", "redirect": true, "insecureSkipVerify": true})), "");
        check(driver, &to(json!({"rootDirectory": "b"})), "cannot change, because the content would not move with");
        check(driver, &to(json!({})), "cannot change, because the content would not move with");
        check(
            driver,
            &to(json!({"rootDirectory": "a", place: "other"})),
            "cannot change, because the content would not",
        );
        check(driver, &changed(&old, &json!({"emptyDir": {}})), "the kind of storage cannot change");
        for (other, ..) in smallest().into_iter().filter(|(other, ..)| *other != driver) {
            check(other, &changed(&old, &with(other, &json!({}))), "the kind of storage cannot change");
        }
    }
    let azure = |name: Value| with("azure", &json!({ "accountName": name }));
    check("another account", &changed(&azure(json!("a")), &azure(json!("b"))), "accountName, once it is given,");
    check("no account", &changed(&azure(json!("a")), &azure(json!(null))), "accountName, once it is given,");
    check("a key for a connection string", &changed(&azure(json!(null)), &azure(json!("b"))), "");
}

/// What names a tenant in another way may name another.
#[test]
fn a_tenant_of_swift_stays_as_it_is_named() {
    for (old, new, stays) in [
        (json!({"tenant": "a"}), json!({"tenant": "a", "username": "me", "endpointType": "Internal"}), true),
        (json!({"tenant": "a"}), json!({"tenant": "b"}), false),
        (json!({"tenant": "a"}), json!({"tenantId": "7"}), false),
        (json!({"tenant": "a"}), json!({"tenant": "a", "tenantId": "7"}), false),
        (json!({"tenant": "a"}), json!({}), false),
        (json!({}), json!({"tenant": "a"}), true),
        (json!({"tenant": "a", "tenantDomain": "x"}), json!({"tenant": "a", "tenantDomain": "y"}), false),
        (json!({"tenant": "a", "tenantDomain": "x"}), json!({"tenant": "a", "tenantDomainId": "y"}), false),
        (json!({"tenant": "a", "domain": "x"}), json!({"tenant": "a", "domain": "y"}), false),
        (json!({"tenant": "a", "domain": "x"}), json!({"tenant": "a", "domain": "x", "tenantDomain": "y"}), false),
        (
            json!({"tenant": "a", "domain": "x", "tenantDomain": "y"}),
            json!({"tenant": "a", "domain": "z", "tenantDomain": "y"}),
            true,
        ),
        (json!({"tenantId": "7"}), json!({"tenantId": "8"}), false),
        (json!({"tenantId": "7", "domain": "x"}), json!({"tenantId": "7", "domain": "y"}), true),
        (json!({"region": "one"}), json!({"region": "two"}), false),
        (json!({"region": "one"}), json!({}), false),
        (json!({}), json!({"region": "one"}), true),
    ] {
        let expected = if stays { "" } else { "container, rootDirectory, region and tenant" };
        check(&format!("{old} {new}"), &changed(&with("swift", &old), &with("swift", &new)), expected);
    }
}

/// An annotation that Berth sets is set on an account that Berth makes.
#[test]
fn identities_belong_to_the_account_that_is_made() {
    for (driver, identity, annotation) in [
        ("s3", json!({"roleArn": "arn:aws:iam::123456789012:role/registry"}), "eks.amazonaws.com/role-arn"),
        ("azure", json!({"clientId": "i"}), "azure.workload.identity/client-id"),
        ("gcs", json!({"serviceAccount": "a@b.example"}), "iam.gke.io/gcp-service-account"),
        ("oss", json!({"roleName": "acme-registry"}), "pod-identity.alibabacloud.com/role-name"),
    ] {
        let of = |identity: &Value, account: Value| {
            let storage = with(driver, &json!({"credentials": {"workloadIdentity": identity}}));
            created(&json!({"storage": storage, "serviceAccount": account}))
        };
        let message = format!("the annotation {annotation}");
        check(driver, &of(&identity, json!({})), "");
        check(driver, &of(&identity, json!({"annotations": {"team": "images"}})), "");
        check(driver, &of(&json!({}), json!({"name": "mine"})), "");
        check(driver, &of(&json!({}), json!({"annotations": {annotation: "x"}})), "");
        check(driver, &of(&identity, json!({"name": "mine"})), &message);
        check(driver, &of(&identity, json!({"annotations": {annotation: "x"}})), &message);
    }
    let identity = json!({"clientId": "i", "tenantId": "t"});
    let storage = with("azure", &json!({"credentials": {"workloadIdentity": identity}}));
    let annotations = json!({"azure.workload.identity/tenant-id": "x"});
    let found = created(&json!({"storage": storage, "serviceAccount": {"annotations": annotations}}));
    check("a tenant", &found, "workloadIdentity.tenantId sets the annotation azure.workload.identity/tenant-id");
}
