//! Listings. Names come back encoded, so that what no document can hold survives.

use std::borrow::Cow;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;

use super::S3;
use super::error::At;
use super::objects::modified;
use crate::bucket::{Listed, Listing, Root, Start};
use crate::{Stat, StoreError};

/// The most entries of one page.
const MAX_ENTRIES: usize = 1000;

impl S3 {
    pub(super) async fn list_objects(&self, listing: Listing<'_>) -> Result<Listed, StoreError> {
        let Listing { below, one_level, start, limit } = listing;
        let prefix = self.settings.root.below(below);
        let behind = match start {
            Start::Behind(text) => Some(format!("{prefix}{text}")),
            Start::First | Start::Page(_) => None,
        };
        let (token, told) = match start {
            Start::Page(page) => cut(page),
            Start::First | Start::Behind(_) => (None, behind.as_deref()),
        };
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.settings.bucket)
            .prefix(&prefix)
            .set_delimiter(one_level.then(|| "/".to_owned()))
            .encoding_type(EncodingType::Url)
            .max_keys(limit.clamp(1, MAX_ENTRIES) as i32)
            .set_start_after(behind.clone())
            .set_continuation_token(token.map(str::to_owned));
        let answer = request.send().await.map_err(|error| self.failed(At::Bucket, "list", error))?;
        page(&answer, &self.settings.root, told).map_err(|error| StoreError::unreachable(below, "list", error))
    }
}

/// A page's text: where the store goes on, and, behind a line break, what the listing began behind. A store may show a
/// directory again that it was to begin behind, on this page or a later one.
fn cut(page: &str) -> (Option<&str>, Option<&str>) {
    match page.split_once('\n') {
        Some((token, told)) => (Some(token), Some(told)),
        None => (Some(page), None),
    }
}

/// What an answer says, without what lies at or before `behind`; or what is wrong with it. Whoever asks deletes what is not
/// listed, or counts on it not to be there: so only what says that it is the last page is.
fn page(answer: &ListObjectsV2Output, root: &Root, behind: Option<&str>) -> Result<Listed, &'static str> {
    let is_encoded = answer.encoding_type() == Some(&EncodingType::Url);
    let decoded = |name: &str| if is_encoded { decode(name) } else { Some(name.to_owned()) };
    let is_wanted = |name: &str| behind.is_none_or(|behind| name > behind);
    let key = |name: &str| root.key(name).map(str::to_owned);
    let mut listed = Listed::default();
    for object in answer.contents() {
        let name = object.key().and_then(decoded).filter(|name| is_wanted(name));
        // A directory that a file manager has made is an object whose name ends with a slash.
        let name = name.filter(|name| !name.ends_with('/')).and_then(|name| key(&name));
        let size = u64::try_from(object.size().unwrap_or(0)).unwrap_or(0);
        let stat = Stat { size, modified: modified(object.last_modified()) };
        listed.objects.extend(name.map(|name| (name, stat)));
    }
    for prefix in answer.common_prefixes() {
        let name = prefix.prefix().and_then(decoded).filter(|name| is_wanted(name));
        listed.directories.extend(name.and_then(|name| key(name.strip_suffix('/').unwrap_or(&name))));
    }
    let next = next(answer.is_truncated(), answer.next_continuation_token())?;
    listed.next = next.map(|token| match behind {
        Some(behind) => format!("{token}\n{behind}"),
        None => token.to_owned(),
    });
    Ok(listed)
}

/// Where a listing goes on, if it does: what an answer says of that, and the mark that the next page begins at.
pub(super) fn next(is_truncated: Option<bool>, mark: Option<&str>) -> Result<Option<&str>, &'static str> {
    let mark = mark.filter(|mark| !mark.is_empty());
    match (is_truncated, mark) {
        (Some(false), _) => Ok(None),
        (_, Some(mark)) => Ok(Some(mark)),
        (Some(true), None) => Err("the listing goes on, but does not say where"),
        (None, None) => Err("the listing does not say whether it goes on"),
    }
}

/// A name as the store encodes it: a space may be a plus, and a plus never is.
fn decode(name: &str) -> Option<String> {
    let spaced = if name.contains('+') { Cow::Owned(name.replace('+', " ")) } else { Cow::Borrowed(name) };
    percent_decode_str(&spaced).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{CommonPrefix, Object};

    use super::*;

    fn answer(objects: &[&str], directories: &[&str], token: Option<&str>) -> ListObjectsV2Output {
        ListObjectsV2Output::builder()
            .encoding_type(EncodingType::Url)
            .set_contents(Some(objects.iter().map(|key| Object::builder().key(*key).size(7).build()).collect()))
            .set_common_prefixes(Some(
                directories.iter().map(|key| CommonPrefix::builder().prefix(*key).build()).collect(),
            ))
            .set_next_continuation_token(token.map(str::to_owned))
            .is_truncated(token.is_some())
            .build()
    }

    fn names(listed: &Listed) -> Vec<&str> {
        listed.objects.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn names_are_decoded_and_lose_the_root() {
        let answer =
            answer(&["root/a/x+y%2Bz%25%C3%A4", "root/a/x%20y", "root/a/", "other/b"], &["root/a/d%20e/"], None);
        let listed = page(&answer, &Root::new("root"), None).unwrap();
        assert_eq!(names(&listed), ["a/x y+z%ä", "a/x y"]);
        assert_eq!(listed.directories, ["a/d e"]);
        assert_eq!(listed.next, None);
    }

    #[test]
    fn only_what_says_so_is_the_last_page() {
        for (is_truncated, mark, expected) in [
            (Some(false), None, Ok(None)),
            (Some(false), Some("token"), Ok(None)),
            (Some(true), Some("token"), Ok(Some("token"))),
            (None, Some("token"), Ok(Some("token"))),
            (Some(true), None, Err(())),
            (Some(true), Some(""), Err(())),
            (None, None, Err(())),
        ] {
            assert_eq!(next(is_truncated, mark).map_err(drop), expected, "{is_truncated:?} {mark:?}");
        }
    }

    #[test]
    fn what_lies_before_the_start_is_left_out_on_every_page() {
        let first = answer(&["a/b", "a/bc"], &["a/b/"], Some("token+/="));
        let listed = page(&first, &Root::default(), Some("a/b/")).unwrap();
        assert_eq!((names(&listed), listed.directories.len()), (vec!["a/bc"], 0));
        let next = listed.next.unwrap();
        assert_eq!(cut(&next), (Some("token+/="), Some("a/b/")));
        let (_, behind) = cut(&next);
        let second = page(&answer(&["a/c"], &["a/b/"], None), &Root::default(), behind).unwrap();
        assert_eq!((names(&second), second.directories.len()), (vec!["a/c"], 0));
        assert_eq!(cut("token"), (Some("token"), None));
    }
}
