//! [pure] The Secret that holds the keys: a file for each, which of them signs, and since when.
//!
//! A key that signs no more is kept by its public half alone: who gets hold of the Secret then can sign by the current one,
//! and not in the name of an earlier one.

use std::collections::BTreeMap;

use aws_lc_rs::error::Unspecified;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use super::{
    pem::Pair,
    plan::{Key, Keys, Step},
};
use crate::names;

/// The key of the Secret that says which key signs.
const CURRENT: &str = "current";

/// Why a Secret does not hold keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// What it says of its keys cannot be read.
    #[error(
        "its annotation {} cannot be read: delete the Secret, and new keys are made; every token ends with it",
        names::TOKEN_KEYS_ANNOTATION
    )]
    Annotation,
    /// A key that it speaks of is not there.
    #[error("it has no {0}: delete the Secret, and new keys are made; every token ends with it")]
    Missing(String),
    /// A key lies there that is not one of those that it speaks of.
    #[error(
        "somebody has put {0:?} there, which is none of its keys: remove it, or delete the Secret, and new keys are made"
    )]
    Strange(String),
    /// Another key than the one that it speaks of would sign.
    #[error(
        "somebody has changed which key signs ({CURRENT}): delete the Secret, and new keys are made; every token ends with it"
    )]
    Current,
    /// A key cannot be made or written.
    #[error("a key cannot be made: the operating system has no randomness")]
    Making,
}

impl From<Unspecified> for SecretError {
    fn from(_: Unspecified) -> Self {
        Self::Making
    }
}

/// The keys, and what is in the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// What is known of each.
    pub keys: Keys,
    /// The files by name.
    pub files: BTreeMap<String, Vec<u8>>,
}

fn file(name: &str) -> String {
    format!("{name}.pem")
}

impl Content {
    /// What a Secret holds.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(secret: &Secret) -> Result<Self, SecretError> {
        let annotations = secret.metadata.annotations.as_ref();
        let text = annotations.and_then(|annotations| annotations.get(names::TOKEN_KEYS_ANNOTATION));
        let keys: Keys = text.and_then(|text| serde_json::from_str(text).ok()).ok_or(SecretError::Annotation)?;
        let files: BTreeMap<String, Vec<u8>> =
            secret.data.iter().flatten().map(|(name, content)| (name.clone(), content.0.clone())).collect();
        if let Some(key) = keys.keys.iter().find(|key| !files.contains_key(&file(&key.name))) {
            return Err(SecretError::Missing(file(&key.name)));
        }
        // The registry publishes every file that is called so, and signs by the one that this names.
        let known = |name: &String| {
            !name.ends_with(".pem") || name.starts_with('.') || keys.keys.iter().any(|key| file(&key.name) == *name)
        };
        if let Some(name) = files.keys().find(|name| !known(name)) {
            return Err(SecretError::Strange(name.clone()));
        }
        let signing = keys.signing().map(|key| key.name.as_bytes());
        if signing != files.get(CURRENT).map(|content| content.trim_ascii()) {
            return Err(SecretError::Current);
        }
        Ok(Self { keys, files })
    }

    /// The pair that signs.
    ///
    /// # Errors
    /// [`SecretError::Missing`], if there is none that could.
    pub fn signing(&self) -> Result<Pair, SecretError> {
        let name = self.keys.signing().map(|key| file(&key.name)).ok_or(SecretError::Missing(CURRENT.into()))?;
        let pem = self.files.get(&name).and_then(|content| std::str::from_utf8(content).ok());
        pem.and_then(Pair::read).ok_or(SecretError::Missing(name))
    }

    /// Does what was planned, at a time. `asked` is the request that is followed by it, and `retain_for` how long a key that
    /// signs is to be published when it does so no more.
    ///
    /// # Errors
    /// [`SecretError`]; nothing is changed then.
    pub fn follow(
        &self,
        steps: &[Step],
        asked: Option<&str>,
        retain_for: SignedDuration,
        now: Timestamp,
    ) -> Result<Self, SecretError> {
        let mut changed = self.clone();
        for step in steps {
            match step {
                Step::Make { signs } => {
                    let name = changed.make(now)?;
                    if *signs {
                        changed.promote(&name, now)?;
                        changed.lengthen(&name, retain_for);
                    }
                }
                Step::Promote(name) => {
                    changed.promote(name, now)?;
                    changed.lengthen(name, retain_for);
                }
                Step::Lengthen(name) => changed.lengthen(name, retain_for),
                Step::Remove(name) => {
                    changed.keys.keys.retain(|key| key.name != *name);
                    changed.files.remove(&file(name));
                }
            }
        }
        // One that is on its way is the one that was asked for.
        let is_another = |step: &Step| matches!(step, Step::Make { .. } | Step::Promote(_));
        if asked.is_some() && (steps.iter().any(is_another) || changed.keys.upcoming().is_some()) {
            changed.keys.asked = asked.map(str::to_owned);
        }
        Ok(changed)
    }

    fn lengthen(&mut self, name: &str, retain_for: SignedDuration) {
        for key in self.keys.keys.iter_mut().filter(|key| key.name == name) {
            key.retain_for = key.retain_for.max(retain_for);
        }
    }

    /// Makes a key, which does not sign yet; its name.
    fn make(&mut self, now: Timestamp) -> Result<String, SecretError> {
        let pair = Pair::make()?;
        let kid = pair.kid();
        // Part of the thumbprint, so that it is never that of another.
        let name = format!("key-{}", names::digest(kid.as_bytes()));
        self.files.insert(file(&name), pair.private()?.into_bytes());
        let (retain_for, signs_since, retired) = (SignedDuration::ZERO, None, None);
        self.keys.keys.push(Key { name: name.clone(), kid, created: now, signs_since, retired, retain_for });
        Ok(name)
    }

    fn promote(&mut self, name: &str, now: Timestamp) -> Result<(), SecretError> {
        let Self { keys, files } = self;
        for key in &mut keys.keys {
            if key.name == name {
                key.signs_since = Some(now);
            } else if key.signs_since.is_some() && key.retired.is_none() {
                key.retired = Some(now);
                let content = files.get(&file(&key.name)).and_then(|content| std::str::from_utf8(content).ok());
                let pair = content.and_then(Pair::read).ok_or_else(|| SecretError::Missing(file(&key.name)))?;
                files.insert(file(&key.name), pair.public()?.into_bytes());
            }
        }
        files.insert(CURRENT.to_owned(), name.as_bytes().to_vec());
        Ok(())
    }

    /// The Secret with this content, in place of one with this version, or of none.
    #[must_use]
    pub fn secret(&self, registry: &str, owner: Option<OwnerReference>, version: Option<String>) -> Secret {
        // It has nothing that could not be written.
        let text = serde_json::to_string(&self.keys).unwrap_or_default();
        Secret {
            metadata: ObjectMeta {
                name: Some(names::token_keys(registry)),
                labels: Some(names::registry_labels(registry)),
                annotations: Some([(names::TOKEN_KEYS_ANNOTATION.to_owned(), text)].into()),
                owner_references: owner.map(|owner| vec![owner]),
                resource_version: version,
                ..ObjectMeta::default()
            },
            data: Some(self.files.iter().map(|(name, content)| (name.clone(), ByteString(content.clone()))).collect()),
            type_: Some("Opaque".into()),
            ..Secret::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const LONG: SignedDuration = SignedDuration::from_hours(1);

    fn is_private(content: &Content, name: &str) -> bool {
        String::from_utf8_lossy(&content.files[&file(name)]).contains("PRIVATE KEY")
    }

    #[test]
    fn a_secret_is_written_and_read_back_through_a_rotation() {
        let read = |content: &Content| Content::read(&content.secret("main", None, None)).unwrap();
        let first = Content::default().follow(&[Step::Make { signs: true }], None, LONG, at(1)).unwrap();
        assert_eq!(read(&first), first);
        let old = first.keys.signing().unwrap().clone();
        assert_eq!(
            (old.created, old.signs_since, first.files["current"].as_slice()),
            (at(1), Some(at(1)), old.name.as_bytes())
        );
        assert_eq!(first.signing().unwrap().kid(), old.kid);

        let second = read(&first).follow(&[Step::Make { signs: false }], Some("now"), LONG, at(2)).unwrap();
        let new = second.keys.upcoming().unwrap().clone();
        assert_eq!((second.keys.asked.as_deref(), second.files.len()), (Some("now"), 3));
        assert_eq!(second.signing().unwrap().kid(), old.kid);

        let third = read(&second).follow(&[Step::Promote(new.name.clone())], Some("now"), LONG, at(3)).unwrap();
        assert_eq!(third.signing().unwrap().kid(), new.kid);
        assert!(is_private(&third, &new.name) && !is_private(&third, &old.name), "the old one's private half is gone");
        let times = third.keys.keys.iter().map(|key| (key.retired, key.retain_for)).collect::<Vec<_>>();
        assert_eq!(times, [(Some(at(3)), LONG), (None, LONG)]);
        // What it has signed does not end sooner since others do.
        let shorter = read(&third).follow(&[], None, SignedDuration::ZERO, at(4)).unwrap();
        assert_eq!(shorter, third);

        let fourth = read(&third).follow(&[Step::Remove(old.name.clone())], None, LONG, at(4)).unwrap();
        assert_eq!(fourth.files.keys().collect::<Vec<_>>(), [&"current".to_owned(), &file(&new.name)]);
        assert_eq!(read(&fourth), fourth);
    }

    #[test]
    fn a_secret_that_somebody_has_changed_is_said_to_be_no_use() {
        let content = Content::default().follow(&[Step::Make { signs: true }], None, LONG, at(1)).unwrap();
        let mut secret = content.secret("main", None, None);
        secret.data.as_mut().unwrap().retain(|name, _| name == "current");
        let missing = Content::read(&secret).unwrap_err();
        assert!(missing.to_string().starts_with("it has no key-") && missing.to_string().contains("delete the Secret"));
        let changed = |name: &str, text: &str| {
            let mut secret = content.secret("main", None, None);
            secret.data.as_mut().unwrap().insert(name.into(), ByteString(text.into()));
            Content::read(&secret).err()
        };
        assert_eq!(changed("current", "mine"), Some(SecretError::Current));
        let strange = Some(SecretError::Strange("mine.pem".into()));
        assert_eq!(changed("mine.pem", "-----BEGIN PUBLIC KEY-----"), strange);
        // What the registry reads as it was, or not at all, is no harm.
        assert_eq!(changed("current", &format!("{}\n", content.keys.keys[0].name)), None);
        assert_eq!(changed("README", "x"), None);
        secret.metadata.annotations = None;
        assert_eq!(Content::read(&secret), Err(SecretError::Annotation));
        let mut other = content.clone();
        let name = file(&content.keys.keys[0].name);
        other.files.insert(name.clone(), b"x".to_vec());
        assert_eq!(other.signing().unwrap_err(), SecretError::Missing(name));
        let promoted = other.follow(&[Step::Make { signs: true }], None, LONG, at(2));
        assert!(matches!(promoted, Err(SecretError::Missing(_))), "nothing is lost: {promoted:?}");
    }

    #[test]
    fn a_request_is_noted_when_it_is_followed() {
        let content = Content::default().follow(&[Step::Make { signs: true }], Some("a"), LONG, at(1)).unwrap();
        assert_eq!(content.keys.asked.as_deref(), Some("a"));
        let removed = content.follow(&[Step::Remove("x".into())], Some("b"), LONG, at(2)).unwrap();
        assert_eq!(removed.keys.asked.as_deref(), Some("a"), "nothing was done for it");
    }
}
