//! [pure] Sums of what is written. The signature of a request covers its body by SHA-256, so a sum more says nothing new;
//! but a bucket whose objects are locked for a time refuses what comes without one, and an older store refuses to remove
//! many objects. It is made where the signature is, which takes as long.
//!
//! `Content-MD5` is what such a store takes of any request. Amazon's own sums would do as well for an object, but of a part
//! they have to be announced with the upload and repeated at its end.

use aws_sdk_s3::config::http::HttpRequest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

/// Which sum a request carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sum {
    /// That of the signature, and what the SDK adds where the protocol wants one.
    #[default]
    Unasked,
    /// `Content-MD5`, in place of any other.
    Md5,
}

impl Sum {
    /// All, in the order in which they are tried.
    pub(super) const ALL: [Sum; 2] = [Sum::Unasked, Sum::Md5];

    /// As the log names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Sum::Unasked => "none",
            Sum::Md5 => "Content-MD5",
        }
    }

    /// The header for a body.
    pub(super) fn md5_of(self, content: &[u8]) -> Option<String> {
        (self == Sum::Md5).then(|| STANDARD.encode(Md5::digest(content)))
    }

    /// Puts the header on a request that is about to be signed, in place of what the SDK has added.
    pub(super) fn put_on(self, request: &mut HttpRequest) {
        let Some(sum) = request.body().bytes().and_then(|content| self.md5_of(content)) else { return };
        let is_other = |name: &str| name.starts_with("x-amz-checksum-") || name == "x-amz-sdk-checksum-algorithm";
        let others = request.headers().iter().map(|(name, _)| name).filter(|name| is_other(name));
        for name in others.map(str::to_owned).collect::<Vec<_>>() {
            request.headers_mut().remove(name.as_str());
        }
        request.headers_mut().insert("content-md5", sum);
    }
}
