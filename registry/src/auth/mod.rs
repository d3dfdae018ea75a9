//! Who makes a request. An [`Authenticator`] has three answers: this is who it is, there are no credentials of my kind,
//! or the credentials are bad. What is asked for is an [`Access`]; whether it is granted is not known here.

mod access;
pub(crate) mod basic;
mod brake;
pub(crate) mod certificate;
mod grants;
mod htpasswd;
mod listed;
mod policy;
mod silly;
pub(crate) mod token;
mod verdict;
mod verified;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;

pub use crate::jose::Standing;
pub use access::Access;
pub(crate) use access::{source_of_mount, wanted};
pub use grants::{Grant, Grants};
pub use htpasswd::{Htpasswd, HtpasswdError, LineProblem};
pub use listed::Listed;
pub use policy::{Grounds, Policy};
pub use silly::Silly;
pub use token::{SourceError, Token};
pub(crate) use verdict::{Verdict, judge};

/// Who makes a request. To clone it is to count one more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(Arc<Somebody>);

#[derive(Debug, PartialEq, Eq)]
struct Somebody {
    name: Box<str>,
    /// What this somebody may do, where the method says so.
    grants: Option<Grants>,
    groups: Vec<String>,
    by_certificate: bool,
}

impl Identity {
    /// Somebody of this name, who brings nothing else.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(Arc::new(Somebody { name: name.into(), grants: None, groups: Vec::new(), by_certificate: false }))
    }

    /// Somebody of this name, who may do this.
    #[must_use]
    pub fn granted(name: &str, grants: Grants) -> Self {
        let grants = Some(grants);
        Self(Arc::new(Somebody { name: name.into(), grants, groups: Vec::new(), by_certificate: false }))
    }

    /// Somebody of this name and these groups, by the certificate of a client.
    #[must_use]
    pub fn of_certificate(name: &str, groups: Vec<String>) -> Self {
        Self(Arc::new(Somebody { name: name.into(), grants: None, groups, by_certificate: true }))
    }

    /// The groups.
    #[must_use]
    pub fn groups(&self) -> &[String] {
        &self.0.groups
    }

    /// Whether it is known by the certificate of a client, and not by the method.
    #[must_use]
    pub fn is_by_certificate(&self) -> bool {
        self.0.by_certificate
    }

    /// What this somebody brings of what may be done; none where the method does not say.
    #[must_use]
    pub fn grants(&self) -> Option<&Grants> {
        self.0.grants.as_ref()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an authenticator has to say about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This is who it is.
    Known(Identity),
    /// The request has no credentials of this kind.
    NoCredentials,
    /// The request has credentials, and they are wrong.
    BadCredentials,
}

/// Why an authenticator has nothing to say. The request must not proceed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The file of users cannot be used.
    #[error(transparent)]
    Htpasswd(#[from] HtpasswdError),
    /// The keys that tokens are verified with could not be fetched yet.
    #[error("the keys that tokens are verified with are not there yet; try again")]
    NoKeys,
    /// Too many wrong passwords came from this address.
    #[error("too many wrong passwords; try again in {} seconds", .0.as_secs() + 1)]
    Braked(Duration),
    /// Too many passwords are being checked.
    #[error("too many passwords are being checked; try again")]
    Busy,
    /// The check was cut short by the end of the process.
    #[error("the server is stopping")]
    Stopped,
}

/// A way to find out who makes a request.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Says who makes the request with these headers, which comes from this address where it has one.
    ///
    /// # Errors
    /// [`AuthError`], when it cannot be found out.
    async fn authenticate(&self, headers: &HeaderMap, from: Option<IpAddr>) -> Result<Answer, AuthError>;

    /// What a client is told in `WWW-Authenticate` that is not let in; none if it has no other way to try.
    fn challenge(&self, challenge: &Challenge<'_>) -> Option<String>;

    /// How it stands with the keys of others by which it believes tokens.
    async fn standings(&self) -> Vec<Standing> {
        Vec::new()
    }

    /// The name that a request with bad credentials has said, for whoever looks after attacks. It is none if it is nobody's
    /// name: people put passwords in its place.
    async fn said(&self, _: &HeaderMap) -> Option<String> {
        None
    }
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There are no credentials.
    Missing,
    /// The credentials are bad.
    Bad,
    /// They are good, and not enough.
    Insufficient,
}

impl Why {
    /// The code of it (RFC 6750, 3.1), where there is one.
    pub(crate) const fn error(self) -> Option<&'static str> {
        match self {
            Why::Missing => None,
            Why::Bad => Some("invalid_token"),
            Why::Insufficient => Some("insufficient_scope"),
        }
    }
}

/// What a challenge is about.
#[derive(Clone, Copy, Debug)]
pub struct Challenge<'a> {
    /// What the request wants.
    pub wanted: &'a [Access],
    /// Why it does not get it.
    pub why: Why,
    /// The headers of the request.
    pub headers: &'a HeaderMap,
    /// The name of this registry that the client knows, with the port where it is not the scheme's.
    pub host: &'a str,
}

/// A text as the value of a parameter in a challenge: in quotes, and those within escaped.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
