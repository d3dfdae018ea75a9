//! Objects in parts: blocks, which are kept beside a blob until a list of them makes it one.
//!
//! The service knows no uploads, only blocks of a blob. Those of one assembly begin with its identity, so that two
//! writers of one key do not take each other's; but whoever is first with a list makes the service forget all blocks that
//! are not in it. The list of the other then names blocks that are gone, and is refused. Writers of one key write the same
//! content, so an object of the right size means that the work is done; one of another size means that it is not, and the
//! refusal stands. Blocks of which nothing becomes are forgotten by the service after a week.
//!
//! A blob that CNCF Distribution has appended to takes no blocks. Where one is in the way, the assembly's blocks are kept
//! beside a blob of their own, which then takes its place.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use object_store::azure::AzureCredential;
use uuid::Uuid;

use super::Azure;
use super::access::{Access, Login};
use super::answer::Subject;
use super::client::{Call, Target};
use super::sas::{Grant, Signer, later};
use crate::bucket::{Assembly, PartTag};
use crate::{BoxError, ByteRange, Key, StoreError, layout};

/// For how long the service may read what it is told to copy.
const SOURCE_VALIDITY: Duration = Duration::from_secs(15 * 60);
/// What the text of an assembly ends with whose blocks are kept beside a blob of their own.
const ASIDE: char = '+';

/// What an assembly's text says.
struct Parsed {
    id: Uuid,
    /// Where the blocks are kept, if not at the object itself.
    aside: Option<Key>,
}

impl Parsed {
    fn of(assembly: &Assembly) -> Result<Self, BoxError> {
        let text = assembly.0.as_str();
        let id: Uuid = text.trim_end_matches(ASIDE).parse()?;
        Ok(Parsed { id, aside: text.ends_with(ASIDE).then(|| temporary(id)) })
    }
}

/// A key for something that is only there for a while.
pub(super) fn temporary(id: Uuid) -> Key {
    Key::built(format!("{}/{}", layout::TEMPORARY, id.simple()))
}

/// The name of a block. All have the same length, as the service demands.
fn block(id: Uuid, number: usize) -> String {
    let number = u64::try_from(number).unwrap_or(u64::MAX).to_be_bytes();
    STANDARD.encode([id.as_bytes().as_slice(), &number[3..]].concat())
}

/// The list that makes blocks a blob: of each name the block that was written last, committed or not, so that a list can
/// be sent again whose answer was lost.
fn list(parts: &[PartTag]) -> String {
    let blocks: String = parts.iter().map(|PartTag(name)| format!("<Latest>{name}</Latest>")).collect();
    format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{blocks}</BlockList>")
}

impl Azure {
    pub(super) async fn begin(&self, to: &Key) -> Result<Assembly, StoreError> {
        let id = Uuid::new_v4();
        let suffix = if self.is_appended(to).await? { ASIDE.to_string() } else { String::new() };
        Ok(Assembly(format!("{}{suffix}", id.simple())))
    }

    /// Whether there is a blob that was appended to.
    async fn is_appended(&self, key: &Key) -> Result<bool, StoreError> {
        match self.raw_properties(key, "look at the object").await {
            Ok(headers) => Ok(headers.get("x-ms-blob-type").is_some_and(|kind| kind != "BlockBlob")),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn write_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        content: Bytes,
    ) -> Result<PartTag, StoreError> {
        let subject = self.subject(to, "write a part of the object");
        let Parsed { id, aside } = Parsed::of(assembly).map_err(|error| subject.unreachable(error))?;
        let name = self.name(aside.as_ref().unwrap_or(to)).await?;
        let block = block(id, number);
        let call = Call::new(subject, Method::PUT, Target::Blob(&name)).query("comp", "block").query("blockid", &block);
        self.client.send(call.body(content)).await?;
        Ok(PartTag(block))
    }

    pub(super) async fn copy_to_part(
        &self,
        to: &Key,
        assembly: &Assembly,
        number: usize,
        from: &Key,
        range: Option<ByteRange>,
    ) -> Result<PartTag, StoreError> {
        // What can be missing is the source.
        let subject = self.subject(from, "copy the object");
        let Parsed { id, aside } = Parsed::of(assembly).map_err(|error| subject.unreachable(error))?;
        let (name, source) = (self.name(aside.as_ref().unwrap_or(to)).await?, self.name(from).await?);
        let block = block(id, number);
        let call = |access: &Access, credential: &AzureCredential| {
            let call = Call::new(subject, Method::PUT, Target::Blob(&name));
            let mut call = call.query("comp", "block").query("blockid", &block);
            if let Some(ByteRange { start, end }) = range {
                let range = HeaderValue::try_from(format!("bytes={start}-{}", end.saturating_sub(1)));
                let range = range.map_err(|error| subject.unreachable(error))?;
                call = call.header(HeaderName::from_static("x-ms-source-range"), range);
            }
            self.with_source(call, subject, access, credential, &source)
        };
        self.client.send_as(&call).await?;
        Ok(PartTag(block))
    }

    /// Says what the service is to read, and lets it: unlike for a copy of a whole blob, it does not do so because it
    /// believes the request.
    fn with_source<'a>(
        &self,
        call: Call<'a>,
        subject: Subject<'_>,
        access: &Access,
        credential: &AzureCredential,
        source: &str,
    ) -> Result<Call<'a>, StoreError> {
        let container = self.client.container();
        let secret = |text: String| {
            let mut value = HeaderValue::try_from(text).map_err(|error| subject.unreachable(error))?;
            value.set_sensitive(true);
            Ok::<_, StoreError>(value)
        };
        let mut address = access.source(container, source).map_err(|error| subject.unreachable(error))?;
        let mut call = call;
        match (&access.login, credential) {
            (Login::Key { bytes, .. }, _) => {
                let grant = Grant {
                    account: &access.account,
                    container,
                    blob: source,
                    expires: later(jiff::Timestamp::now(), SOURCE_VALIDITY),
                    encrypted: access.is_encrypted(),
                };
                let query = grant.sign(&Signer::Account(bytes))?;
                address = secret(format!("{}?{query}", access.blob(container, source)))?;
            }
            (_, AzureCredential::BearerToken(token)) => {
                let name = HeaderName::from_static("x-ms-copy-source-authorization");
                call = call.header(name, secret(format!("Bearer {token}"))?);
            }
            _ => {}
        }
        Ok(call.header(HeaderName::from_static("x-ms-copy-source"), address))
    }

    pub(super) async fn complete(
        &self,
        to: &Key,
        assembly: &Assembly,
        parts: &[PartTag],
        size: u64,
    ) -> Result<(), StoreError> {
        let subject = self.subject(to, "make an object of its parts");
        let Parsed { aside, .. } = Parsed::of(assembly).map_err(|error| subject.unreachable(error))?;
        let name = self.name(aside.as_ref().unwrap_or(to)).await?;
        let call = Call::new(subject, Method::PUT, Target::Blob(&name)).query("comp", "blocklist").xml(list(parts));
        match self.client.send(call).await {
            Ok(_) => {}
            Err(error) if are_gone(&error) => {
                return match self.stat(to).await {
                    Ok(stat) if stat.size == size => Ok(()),
                    Ok(_) => Err(error),
                    Err(missing) if missing.is_not_found() => Err(error),
                    Err(other) => Err(other),
                };
            }
            Err(error) => return Err(error),
        }
        match aside {
            Some(aside) if self.keep(to, size).await? => {
                self.erase_aside(&aside).await;
                Ok(())
            }
            Some(aside) => self.move_over(&aside, to).await,
            None => Ok(()),
        }
    }

    /// Puts what was written aside in its place.
    pub(super) async fn move_over(&self, aside: &Key, to: &Key) -> Result<(), StoreError> {
        self.copy_over(aside, to).await?;
        self.erase_aside(aside).await;
        Ok(())
    }

    async fn erase_aside(&self, aside: &Key) {
        if let Err(error) = self.erase(aside).await {
            tracing::warn!(key = %aside, %error, "cannot remove what was written aside");
        }
    }
}

/// Whether a list was refused because blocks in it are not there.
fn are_gone(error: &StoreError) -> bool {
    matches!(error, StoreError::Service { refusal, .. }
        if matches!(refusal.code.as_str(), "InvalidBlockList" | "InvalidBlobOrBlock" | "InvalidBlockId"))
        // A blob of which there were only blocks is not there at all without them.
        || error.is_not_found()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_blocks_are_unique_and_of_one_length() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(u128::MAX));
        let names: std::collections::BTreeSet<_> =
            [one, other].iter().flat_map(|id| [1, 2, 50_000].map(|number| block(*id, number))).collect();
        assert_eq!(names.len(), 6);
        assert!(names.iter().all(|name| name.len() == 28 && !name.contains('=')), "{names:?}");
        assert_eq!(block(one, 1), "AAAAAAAAAAAAAAAAAAAAAQAAAAAB");
    }

    #[test]
    fn an_assembly_says_where_its_blocks_are_kept() {
        let id = Uuid::from_u128(7);
        let parsed = |text: String| Parsed::of(&Assembly(text));
        let plain = parsed(id.simple().to_string()).unwrap();
        assert_eq!((plain.id, plain.aside), (id, None));
        let aside = parsed(format!("{}+", id.simple())).unwrap();
        assert_eq!((aside.id, aside.aside), (id, Some(temporary(id))));
        assert!(parsed("no identity".to_owned()).is_err());
    }

    #[test]
    fn a_list_names_blocks_in_order() {
        let parts = [PartTag("b".into()), PartTag("a".into())];
        let expected = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
                        <BlockList><Latest>b</Latest><Latest>a</Latest></BlockList>";
        assert_eq!(list(&parts), expected);
    }
}
