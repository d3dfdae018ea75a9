//! What was applied before to exactly what is there now, so that it need not be applied again.
//!
//! A Registry on an object store is looked at every minute for what its pods say, and mostly nothing else has happened. Every
//! write to an object gives it another version. So if the same was applied to the same versions before, and they are still
//! these, it has changed nothing then, and would change nothing now; and whatever somebody else changes shows.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::Instant;

use super::{fetch::Observed, render::Rendered};

/// How long it is relied on: what is applied may also mean something else to another version of the cluster.
const RELIED_ON: Duration = Duration::from_secs(300);

/// What was applied last, by the uid of the Registry.
#[derive(Default)]
pub struct Settled(Mutex<HashMap<String, (u64, Instant)>>);

impl Settled {
    /// Whether this was applied not long ago.
    #[must_use]
    pub fn holds(&self, uid: &str, print: u64) -> bool {
        let settled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        settled.get(uid).is_some_and(|(last, since)| *last == print && since.elapsed() < RELIED_ON)
    }

    /// Notes what was applied, and forgets what is of no use any more.
    pub fn note(&self, uid: &str, print: u64) {
        let mut settled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        settled.retain(|_, (_, since)| since.elapsed() < RELIED_ON);
        settled.insert(uid.to_owned(), (print, Instant::now()));
    }
}

/// [pure] What tells apart what is to be applied, and the versions of what is there.
///
/// # Errors
/// What the serializer says.
pub fn fingerprint(rendered: &Rendered, observed: &Observed) -> Result<u64, serde_json::Error> {
    // Taken apart without `..`: a new kind must be dealt with here.
    let Observed {
        service_account,
        admin_secret,
        config_maps,
        certificate: _,    // the user's own, as the next three; what counts of them is rendered
        storage_secret: _, // see above
        storage_ca: _,     // see above
        auth: _,           // see above
        pins: _,           // rendered
        volume_claim,
        service,
        debug_service,
        deployment,
        pods: _, // the Deployment's
    } = observed;
    let version = |metadata: &ObjectMeta| (metadata.uid.clone(), metadata.resource_version.clone());
    let mut hasher = DefaultHasher::new();
    for object in rendered.objects()? {
        object.to_string().hash(&mut hasher);
    }
    service_account.as_ref().map(|object| version(&object.metadata)).hash(&mut hasher);
    admin_secret.as_ref().map(|object| version(&object.metadata)).hash(&mut hasher);
    config_maps.iter().map(|object| version(&object.metadata)).collect::<Vec<_>>().hash(&mut hasher);
    volume_claim.as_ref().map(|object| version(&object.metadata)).hash(&mut hasher);
    service.as_ref().map(|object| version(&object.metadata)).hash(&mut hasher);
    debug_service.as_ref().map(|object| version(&object.metadata)).hash(&mut hasher);
    deployment.as_ref().map(|object| version(&object.metadata)).hash(&mut hasher);
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Settings,
        registry::{
            render::{Pins, render},
            validate::validate,
        },
    };
    use serde::de::DeserializeOwned;
    use serde_json::json;

    fn object<K: DeserializeOwned>(version: u32) -> K {
        serde_json::from_value(json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": version.to_string()}}))
            .unwrap()
    }

    fn observed() -> Observed {
        Observed {
            service_account: Some(object(1)),
            admin_secret: Some(object(1)),
            config_maps: vec![object(1), object(2)],
            certificate: None,
            storage_secret: None,
            storage_ca: None,
            auth: Vec::new(),
            pins: Pins::default(),
            volume_claim: Some(object(1)),
            service: Some(object(1)),
            debug_service: Some(object(1)),
            deployment: Some(object(1)),
            pods: Vec::new(),
        }
    }

    fn rendered(replicas: i32) -> Rendered {
        let registry = serde_json::from_value(json!({"apiVersion": "berth.dev/v1alpha1", "kind": "Registry",
            "metadata": {"name": "main"}, "spec": {"replicas": replicas, "storage": {"emptyDir": {}}}}))
        .unwrap();
        render(&validate(&registry, &Settings::default()).unwrap(), &Pins::default())
    }

    /// Whatever somebody else does to one of the objects, it is applied again.
    #[test]
    fn every_object_and_every_version_counts() {
        type Edit = fn(&mut Observed);
        let of = |observed: &Observed| fingerprint(&rendered(1), observed).unwrap();
        let same = of(&observed());
        assert_eq!(of(&observed()), same);
        assert_ne!(fingerprint(&rendered(0), &observed()).unwrap(), same);
        let edits: [(&str, Edit); 10] = [
            ("service account", |it| it.service_account = Some(object(2))),
            ("admin secret", |it| it.admin_secret = None),
            ("config map", |it| it.config_maps[1] = object(3)),
            ("lost config map", |it| drop(it.config_maps.pop())),
            ("volume claim", |it| it.volume_claim = Some(object(2))),
            ("service", |it| it.service = Some(object(2))),
            ("no service", |it| it.service = None),
            ("debug service", |it| it.debug_service = Some(object(2))),
            ("deployment", |it| it.deployment = Some(object(2))),
            ("no deployment", |it| it.deployment = None),
        ];
        for (edit, make) in edits {
            let mut edited = observed();
            make(&mut edited);
            assert_ne!(of(&edited), same, "{edit}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_relied_on_for_some_time_only() {
        let settled = Settled::default();
        assert!(!settled.holds("u", 1));
        settled.note("u", 1);
        assert!(settled.holds("u", 1) && !settled.holds("u", 2) && !settled.holds("other", 1));
        tokio::time::advance(RELIED_ON).await;
        assert!(!settled.holds("u", 1));
        settled.note("other", 1);
        assert_eq!(settled.0.lock().unwrap().len(), 1);
    }
}
