//! Objects that are written in parts. The JSON API has nothing for it that another process could go on with, so a part is an
//! object of its own below `berth/v1/parts/<assembly>/`, and all are put together in the end by `compose`, which takes up to
//! 32 objects and copies nothing. What is more than 32 is put together in rounds. A part that is another object already is
//! that object: nothing is sent for it, and it has to stay until all are together.
//!
//! The object comes about in the one request of the last round, and says in its metadata of which assembly: who asks again
//! because an answer was lost is told that it is done. Then the parts are removed, whether that succeeds or not: those that
//! are left, and those of a process that was killed, are found by their age ([`Bucket::remove_leftovers`]). A rule of the
//! bucket's lifecycle can do the same: `Delete` with `age` and `matchesPrefix: ["<root>/berth/v1/parts/"]`.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::SystemTime;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::Request;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use uuid::Uuid;

use super::answer::{FIELDS, Resource};
use super::api::{About, post};
use super::{Gcs, OCTETS};
use crate::bucket::{Assembly, Bucket, Listing, PartTag, Start};
use crate::{Key, StoreError, layout};

/// The most objects that one request puts together.
const MAX_SOURCES: usize = 32;
/// What tells of which assembly an object was made, in its metadata.
const ASSEMBLY: &str = "berth-assembly";
/// How many requests put together parts at once.
const AT_ONCE: usize = 8;
/// How many entries a page of leftovers has.
const PAGE: usize = 1000;

/// A part, as its tag knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// An object of the assembly's own.
    Written { number: usize, bytes: u64 },
    /// Another object.
    Other { key: Key, bytes: u64 },
}

impl Part {
    fn tag(&self) -> PartTag {
        PartTag(match self {
            Part::Written { number, bytes } => format!("part {bytes} {number}"),
            Part::Other { key, bytes } => format!("object {bytes} {key}"),
        })
    }

    fn bytes(&self) -> u64 {
        match self {
            Part::Written { bytes, .. } | Part::Other { bytes, .. } => *bytes,
        }
    }
}

impl FromStr for Part {
    type Err = crate::BoxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fields = text.splitn(3, ' ');
        match (fields.next(), fields.next(), fields.next()) {
            (Some("part"), Some(bytes), Some(number)) => {
                Ok(Part::Written { number: number.parse()?, bytes: bytes.parse()? })
            }
            (Some("object"), Some(bytes), Some(key)) => Ok(Part::Other { key: key.parse()?, bytes: bytes.parse()? }),
            _ => Err(format!("{text:?} is no part of this driver's").into()),
        }
    }
}

/// One request: what is put together, and what becomes of it.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    sources: Vec<Key>,
    to: Key,
}

/// What the requests of one object that is put together have in common.
#[derive(Clone, Copy)]
struct Work<'a> {
    about: About<'a>,
    assembly: &'a Assembly,
    size: u64,
}

/// The rounds in which objects are put together. Within a round nothing waits for another. The last has one step.
fn rounds(sources: Vec<Key>, to: &Key, between: impl Fn(usize, usize) -> Key) -> Vec<Vec<Step>> {
    let mut rounds = Vec::new();
    let mut sources = sources;
    while sources.len() > MAX_SOURCES {
        let steps = sources.chunks(MAX_SOURCES).enumerate();
        let steps =
            steps.map(|(at, sources)| Step { sources: sources.to_vec(), to: between(rounds.len() + 1, at + 1) });
        let steps: Vec<Step> = steps.collect();
        sources = steps.iter().map(|step| step.to.clone()).collect();
        rounds.push(steps);
    }
    rounds.push(vec![Step { sources, to: to.clone() }]);
    rounds
}

/// The body of the request.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Compose<'a> {
    source_objects: Vec<Source>,
    destination: Destination<'a>,
}

#[derive(Serialize)]
struct Source {
    name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Destination<'a> {
    content_type: &'a str,
    metadata: BTreeMap<&'a str, &'a str>,
}

impl Gcs {
    pub(super) fn begin() -> Assembly {
        Assembly(Uuid::new_v4().simple().to_string())
    }

    pub(super) async fn write_part(
        &self,
        assembly: &Assembly,
        number: usize,
        content: Bytes,
    ) -> Result<PartTag, StoreError> {
        let part = Part::Written { number, bytes: content.len() as u64 };
        self.put(&layout::part(&assembly.0, number)?, content).await?;
        Ok(part.tag())
    }

    pub(super) fn take_part(from: &Key, size: u64) -> PartTag {
        Part::Other { key: from.clone(), bytes: size }.tag()
    }

    pub(super) async fn complete(
        &self,
        to: &Key,
        assembly: &Assembly,
        tags: Vec<PartTag>,
        size: u64,
    ) -> Result<(), StoreError> {
        let about = About::object(to.as_str(), "put the parts together");
        let parts: Result<Vec<Part>, _> = tags.iter().map(|PartTag(text)| text.parse()).collect();
        let parts = parts.map_err(|error: crate::BoxError| about.unreachable(error))?;
        let sum: u64 = parts.iter().map(Part::bytes).sum();
        if sum != size {
            return Err(about.unreachable(format!("the parts have {sum} bytes, not {size}")));
        }
        let mut temporary = Vec::new();
        let mut sources = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Part::Other { key, .. } => sources.push(key),
                Part::Written { number, .. } => {
                    let key = layout::part(&assembly.0, number)?;
                    temporary.push(key.clone());
                    sources.push(key);
                }
            }
        }
        let above = layout::parts(&assembly.0)?;
        if sources.is_empty() {
            return self.put(to, Bytes::new()).await;
        }
        let mut rounds = rounds(sources, to, |round, at| Key::built(format!("{above}/together/{round}/{at}")));
        let last =
            rounds.pop().and_then(|mut steps| steps.pop()).ok_or_else(|| about.unreachable("there are no parts"))?;
        let work = Work { about, assembly, size };
        if let Err(error) = self.compose_all(work, &rounds, last, Key::built(format!("{above}/together/whole"))).await {
            // It may have been done before, and its parts be gone: an answer was lost, and this is another try.
            let is_refused = !matches!(error, StoreError::Unreachable { .. });
            if !is_refused || !self.is_made_of(to, work).await {
                return Err(error);
            }
        }
        temporary.extend(rounds.into_iter().flatten().map(|step| step.to));
        // The object is there: what is left of its parts is found by its age.
        if let Err(error) = self.remove(&temporary).await {
            tracing::debug!(key = %to, assembly = assembly.0, %error, "parts are left behind");
        }
        Ok(())
    }

    /// All rounds. In the last, nothing takes the place of an object before it is known to be whole: other objects that are
    /// parts may have changed, which shows in the length of what comes of them. An object that is there already is replaced
    /// by way of another, `aside`.
    async fn compose_all(
        &self,
        work: Work<'_>,
        rounds: &[Vec<Step>],
        last: Step,
        aside: Key,
    ) -> Result<(), StoreError> {
        for steps in rounds {
            let steps: Vec<_> = steps.iter().map(|step| self.compose(work, step, false)).collect();
            stream::iter(steps).buffer_unordered(AT_ONCE).try_collect::<Vec<Resource>>().await?;
        }
        match self.compose(work, &last, true).await {
            Err(StoreError::AlreadyExists { .. }) if self.is_made_of(&last.to, work).await => Ok(()),
            Err(StoreError::AlreadyExists { .. }) => {
                let Step { sources, to } = last;
                let step = Step { sources, to: aside };
                let composed = self.compose(work, &step, false).await?;
                self.must_be_whole(work, &step.to, &composed).await?;
                self.copy(&step.to, &to).await?;
                // If it stays, it is found by its age.
                let _ = self.remove(&[step.to]).await;
                Ok(())
            }
            composed => self.must_be_whole(work, &last.to, &composed?).await,
        }
    }

    /// Removes what was put together if it has the wrong length, unless something else was written there since.
    async fn must_be_whole(&self, work: Work<'_>, at: &Key, composed: &Resource) -> Result<(), StoreError> {
        let Work { about, size, .. } = work;
        let bytes = composed.size().map_err(|error| about.unreachable(error))?;
        if bytes == size {
            return Ok(());
        }
        let query = [("ifGenerationMatch", composed.generation.as_str())];
        let request = Request::delete(self.api.address.object(&self.root.name(at), &query));
        let _ = self.api.tell(about, request, Bytes::new()).await;
        Err(about.unreachable(format!("the parts have become {bytes} bytes, not {size}")))
    }

    /// One request; [`StoreError::AlreadyExists`] if there is an object that may not be there.
    async fn compose(&self, work: Work<'_>, step: &Step, must_be_new: bool) -> Result<Resource, StoreError> {
        let Work { about, assembly, .. } = work;
        let name = |key: &Key| self.root.name(key);
        let body = Compose {
            source_objects: step.sources.iter().map(|key| Source { name: name(key) }).collect(),
            destination: Destination { content_type: OCTETS, metadata: [(ASSEMBLY, assembly.0.as_str())].into() },
        };
        let body = serde_json::to_vec(&body).map_err(|error| about.unreachable(error))?;
        let mut query = vec![("fields", FIELDS)];
        query.extend(must_be_new.then_some(("ifGenerationMatch", "0")));
        let address = self.api.address.compose(&name(&step.to), &query);
        let request = post(address).header(CONTENT_TYPE, "application/json");
        self.api.ask(about, request, body.into()).await
    }

    /// Whether an object is what has become of an assembly.
    async fn is_made_of(&self, to: &Key, work: Work<'_>) -> bool {
        let Work { assembly, size, .. } = work;
        let resource = self.resource(About::object(to.as_str(), "look at the object"), to).await;
        resource.is_ok_and(|resource| {
            resource.metadata.get(ASSEMBLY) == Some(&assembly.0) && resource.size().is_ok_and(|bytes| bytes == size)
        })
    }

    pub(super) async fn abort(&self, assembly: &Assembly) -> Result<(), StoreError> {
        let above = layout::parts(&assembly.0)?;
        let mut next: Option<String> = None;
        loop {
            let start = next.as_deref().map_or(Start::First, Start::Page);
            let listed = self.list(Listing { below: &above, one_level: false, start, limit: PAGE }).await?;
            let keys: Vec<Key> = listed.objects.iter().filter_map(|(name, _)| name.parse().ok()).collect();
            self.remove(&keys).await?;
            next = listed.next;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// Removes the assemblies that nothing was written for since `before`, and says how many objects that were.
    pub(super) async fn remove_old_parts(&self, before: SystemTime) -> Result<u64, StoreError> {
        let above = layout::all_parts();
        let mut removed = 0;
        let mut assembly = Leftover::default();
        let mut next: Option<String> = None;
        loop {
            let start = next.as_deref().map_or(Start::First, Start::Page);
            let listed = self.list(Listing { below: &above, one_level: false, start, limit: PAGE }).await?;
            for (name, stat) in listed.objects {
                let Ok(key) = name.parse::<Key>() else { continue };
                if let Some(ended) = assembly.take(&above, key, stat.modified) {
                    removed += self.remove_leftover(ended, before).await?;
                }
            }
            next = listed.next;
            if next.is_none() {
                return Ok(removed + self.remove_leftover(assembly, before).await?);
            }
        }
    }

    async fn remove_leftover(&self, leftover: Leftover, before: SystemTime) -> Result<u64, StoreError> {
        if leftover.written.is_none_or(|written| written >= before) {
            return Ok(0);
        }
        self.remove(&leftover.keys).await?;
        Ok(leftover.keys.len() as u64)
    }
}

/// The objects of one assembly, which follow each other in a listing. There are no more than an object may have parts.
#[derive(Debug, Default)]
struct Leftover {
    id: String,
    keys: Vec<Key>,
    /// When the last of them was written.
    written: Option<SystemTime>,
}

impl Leftover {
    /// Takes the next object of a listing, and gives what was taken before if that was of another assembly.
    fn take(&mut self, above: &Key, key: Key, written: SystemTime) -> Option<Leftover> {
        let id = above.strip(&key).and_then(|text| text.split('/').next()).unwrap_or_default();
        let ended =
            (self.id != id).then(|| std::mem::replace(self, Leftover { id: id.to_owned(), ..Leftover::default() }));
        self.written = self.written.max(Some(written));
        self.keys.push(key);
        ended
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    #[test]
    fn a_tag_says_what_the_part_is() {
        for (part, text) in [
            (Part::Written { number: 7, bytes: 9 }, "part 9 7"),
            (Part::Other { key: key("a b/c"), bytes: 9 }, "object 9 a b/c"),
        ] {
            assert_eq!(part.tag(), PartTag(text.to_owned()));
            assert_eq!(text.parse::<Part>().unwrap(), part);
        }
        for wrong in ["", "part", "part 1", "part x 1", "object 1 /a", "etag"] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }

    /// The content of what the last round makes, if every object had its own name as content.
    fn together(rounds: &[Vec<Step>]) -> Vec<Key> {
        let mut made: std::collections::HashMap<Key, Vec<Key>> = std::collections::HashMap::new();
        for steps in rounds {
            for Step { sources, to } in steps {
                assert!((1..=MAX_SOURCES).contains(&sources.len()));
                let content =
                    sources.iter().flat_map(|source| made.get(source).cloned().unwrap_or_else(|| vec![source.clone()]));
                let content = content.collect();
                assert!(made.insert(to.clone(), content).is_none(), "{to} is made twice");
            }
        }
        made.remove(&rounds.last().unwrap()[0].to).unwrap()
    }

    #[test]
    fn parts_come_together_in_their_order_in_as_few_rounds_as_there_must_be() {
        for (parts, expected) in [(1, 1), (32, 1), (33, 2), (1024, 2), (1025, 3), (10_000, 3), (32_768, 3)] {
            let sources: Vec<Key> = (1..=parts).map(|number| key(&format!("p/{number:05}"))).collect();
            let rounds = rounds(sources.clone(), &key("to"), |round, at| key(&format!("t/{round}/{at}")));
            assert_eq!(rounds.len(), expected, "{parts}");
            assert_eq!(rounds.last().unwrap().len(), 1);
            assert_eq!(together(&rounds), sources);
        }
    }

    #[test]
    fn an_assembly_is_as_old_as_its_youngest_part() {
        let above = key("berth/v1/parts");
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut assembly = Leftover::default();
        let mut ended = Vec::new();
        for (name, seconds) in [("a/1", 5), ("a/2", 3), ("a/together/1/1", 4), ("b/1", 1)] {
            ended.extend(assembly.take(&above, above.join(name).unwrap(), at(seconds)));
        }
        let found: Vec<_> =
            ended.into_iter().chain([assembly]).map(|one| (one.id, one.keys.len(), one.written)).collect();
        assert_eq!(found, [(String::new(), 0, None), ("a".into(), 3, Some(at(5))), ("b".into(), 1, Some(at(1)))]);
    }
}
