//! What the store can do, found out by doing it to objects that are removed again.

use bytes::Bytes;
use futures::future::join_all;
use uuid::Uuid;

use super::Azure;
use crate::bucket::{Abilities, Listing, Start};
use crate::{Key, StoreError};

/// What nothing is known of, nothing is trusted to.
pub(super) const LEAST: Abilities = Abilities {
    creates_atomically: false,
    removes_many: false,
    copies_parts: false,
    lists_from_anywhere: false,
    lists_at_once: true,
};

/// Where probes are, below the root directory.
const PLACE: &str = "berth/v1/probe";
/// How many writers are let loose at once.
const WRITERS: usize = 4;

impl Azure {
    /// Finds out what the store can do, unless that is known, and says so in the log. A store that gives no answer, or does
    /// not believe the credentials, is to be asked again.
    pub(super) async fn find_abilities(&self) -> Result<Abilities, StoreError> {
        if let Some(abilities) = self.abilities.get() {
            return Ok(*abilities);
        }
        let below = Key::built(format!("{PLACE}/{}", Uuid::new_v4()));
        let (first, second) = (below.join("1")?, below.join("2")?);
        let outcome = self.try_abilities(&below, &first, &second).await;
        let keys = [first, second];
        let removes_many = match self.erase_batch(&keys).await {
            Ok(()) => true,
            Err(error) if outcome.is_ok() && !is_refusal(&error) => return Err(error),
            Err(_) => {
                // One by one, then; and where that is refused as well, the first refusal says most.
                let erased = self.erase_all(&keys).await;
                if outcome.is_ok() {
                    erased?;
                }
                false
            }
        };
        let abilities = Abilities { removes_many, ..outcome? };
        // Whoever was quicker has found the same, and said it.
        if self.abilities.set(abilities).is_ok() {
            self.say(abilities);
        }
        Ok(abilities)
    }

    /// Says it once, with what is done in place of what is missing.
    fn say(&self, abilities: Abilities) {
        let Abilities { creates_atomically, removes_many, copies_parts, lists_from_anywhere, lists_at_once: _ } =
            abilities;
        let place = self.place.as_ref();
        tracing::info!(
            place,
            creates_atomically,
            removes_many,
            copies_parts,
            lists_from_anywhere,
            "what the store is able to do"
        );
        if !creates_atomically {
            tracing::warn!(place, "of several writers that create one object, the store lets more than one through");
        }
        if !removes_many {
            tracing::warn!(
                place,
                "the store does not remove several objects with one request: removing each by itself"
            );
        }
        if !copies_parts {
            tracing::warn!(place, "the store does not make parts out of objects: reading and writing them instead");
        }
    }

    async fn try_abilities(&self, below: &Key, first: &Key, second: &Key) -> Result<Abilities, StoreError> {
        let content = Bytes::from_static(b"A probe of what this store is able to do. It can be removed.\n");
        let size = content.len() as u64;
        let mut created = 0;
        for outcome in join_all((0..WRITERS).map(|_| self.write_new(first, content.clone()))).await {
            match outcome {
                Ok(()) => created += 1,
                Err(StoreError::AlreadyExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let creates_atomically = created == 1;
        let assembly = self.begin(second).await?;
        let copied = match self.copy_to_part(second, &assembly, 1, first, None).await {
            Ok(part) => self.complete(second, &assembly, &[part], size).await,
            Err(error) => Err(error),
        };
        let copies_parts = match copied {
            Ok(()) => true,
            Err(error) if is_refusal(&error) => false,
            Err(error) => return Err(error),
        };
        if !copies_parts {
            self.write(second, content).await?;
        }
        // A service that does not know how to begin in the middle begins with the first, which is passed over.
        let listing = Listing { below, one_level: false, start: Start::Behind("1x"), limit: 1 };
        let lists_from_anywhere = match self.page(listing, true).await {
            Ok(listed) => listed.objects.len() == 1,
            Err(error) if is_refusal(&error) => false,
            Err(error) => return Err(error),
        };
        Ok(Abilities {
            creates_atomically,
            removes_many: false,
            copies_parts,
            lists_from_anywhere,
            lists_at_once: true,
        })
    }
}

/// Whether the store has understood, and does not do it; in contrast to one that cannot just now.
fn is_refusal(error: &StoreError) -> bool {
    match error {
        StoreError::NotFound { .. } => true,
        StoreError::Service { refusal, .. } => {
            matches!(refusal.status, 501) || (400..500).contains(&refusal.status) && !error.is_transient()
        }
        _ => false,
    }
}
