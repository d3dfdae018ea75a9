//! Who makes a request. An [`Authenticator`] has three answers: this is who it is, there are no credentials of my kind,
//! or the credentials are bad. What is asked for is an [`Access`]; whether it is granted is not known here.

mod access;
mod basic;
mod htpasswd;
mod silly;
mod verified;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;

pub use access::Access;
pub(crate) use access::{source_of_mount, wanted};
pub use htpasswd::{Htpasswd, HtpasswdError, LineProblem};
pub use silly::Silly;

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: Arc<str>,
}

impl Identity {
    /// Somebody of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.into() }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
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
    /// Says who makes the request with these headers.
    ///
    /// # Errors
    /// [`AuthError`], when it cannot be found out.
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Answer, AuthError>;

    /// What a client that wants these accesses is told in `WWW-Authenticate`.
    fn challenge(&self, wanted: &[Access]) -> String;
}

/// A text as the value of a parameter in a challenge: in quotes, and those within escaped.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
