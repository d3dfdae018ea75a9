//! Segments of which nobody has made an object: what a process leaves that is killed while it writes or copies one.
//!
//! They are found in the listing of all names, and go once the last of those that were written together is old. The store is
//! asked for the newest that it has of the object, and what its manifest lists stays. Where no object is found, but the
//! listing has one, servers may be away, and everything stays.

use std::time::SystemTime;

use super::Inner;
use super::large::Found;
use super::segments;
use crate::bucket::Assembly;
use crate::{Key, StoreError};

/// The segments that were written together, which follow each other in a listing. There are no more than an object may have.
#[derive(Debug, Default)]
struct Leftover {
    /// The object and the assembly; none before the first, and while there are no segments.
    of: Option<(String, Assembly)>,
    names: Vec<String>,
    /// Whether one of them is not old.
    is_young: bool,
}

impl Leftover {
    /// Takes the next name of a listing, and gives what was taken before if this is not one of the same.
    fn take(&mut self, name: String, is_old: bool) -> Option<Leftover> {
        let of = segments::owner(&name);
        let ended = (self.of != of).then(|| std::mem::replace(self, Leftover { of, ..Leftover::default() }));
        if self.of.is_some() {
            self.is_young |= !is_old;
            self.names.push(name);
        }
        ended
    }
}

impl Inner {
    /// Removes the segments below a key that were written before a time and that no object has, and says of how many
    /// assemblies they were.
    pub(super) async fn remove_leftovers(&self, below: &Key, before: SystemTime) -> Result<u64, StoreError> {
        let prefix = self.root.below(below);
        let (mut removed, mut leftover, mut last) = (0, Leftover::default(), None::<String>);
        loop {
            let names = self.names_after(below, &prefix, last.as_deref()).await?;
            let Some((name, _)) = names.last() else { break };
            last = Some(name.clone());
            for (name, written) in names {
                // What cannot be dated is not old.
                if let Some(ended) = leftover.take(name, written.is_some_and(|written| written < before)) {
                    removed += self.remove_leftover(ended).await?;
                }
            }
        }
        Ok(removed + self.remove_leftover(leftover).await?)
    }

    async fn remove_leftover(&self, leftover: Leftover) -> Result<u64, StoreError> {
        let Leftover { of: Some((object, assembly)), mut names, is_young: false } = leftover else { return Ok(0) };
        let Some(Ok(key)) = self.root.key(&object).map(str::parse::<Key>) else { return Ok(0) };
        match self.found(&key, &assembly).await? {
            Found::These | Found::Unknown => return Ok(0),
            Found::Nothing if self.names(&key, &object).await?.contains(&object) => return Ok(0),
            Found::Nothing | Found::NotStatic(_) => {}
            Found::Others(manifest) => {
                let kept = manifest.own(&self.container, &object);
                names.retain(|name| !kept.contains(name));
            }
        }
        if names.is_empty() {
            return Ok(0);
        }
        tracing::info!(driver = "swift", %key, count = names.len(), "removing segments of which no object was made");
        self.remove_names(&self.place, names).await?;
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_that_were_written_together_are_as_young_as_the_youngest() {
        let (one, two) = (Assembly("1".repeat(32)), Assembly("2".repeat(32)));
        let mut leftover = Leftover::default();
        let mut ended = Vec::new();
        for (name, is_old) in [
            (segments::segment("files/a/data", &one, 1), true),
            (segments::segment("files/a/data", &one, 2), false),
            (segments::segment("files/a/data", &two, 1), true),
            ("files/a/data".to_owned(), true),
            (segments::segment("files/b/data", &two, 1), true),
        ] {
            ended.extend(leftover.take(name, is_old));
        }
        ended.push(leftover);
        let found: Vec<_> = ended
            .into_iter()
            .filter_map(|Leftover { of, names, is_young }| Some((of?.0, names.len(), is_young)))
            .collect();
        let data = |directory: &str| format!("files/{directory}/data");
        assert_eq!(found, [(data("a"), 2, true), (data("a"), 1, false), (data("b"), 1, false)]);
    }
}
