//! Tokens as they are written, and the keys that they are verified with (JOSE: RFC 7515, 7517, 7518, 7638, 8037). What a token
//! claims is not known here.

mod jws;
mod key;
mod keys;
mod remote;
mod source;
pub(crate) mod strict;

pub(crate) use jws::{Jws, JwsError};
pub(crate) use key::{Algorithm, PublicKey};
pub(crate) use keys::{Keys, Untrusted};
pub(crate) use remote::{DISCOVERY, Remote};
pub(crate) use source::{Place, Source};
pub use source::{SourceError, Standing};
