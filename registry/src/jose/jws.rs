//! [pure] A token as it is written: a JSON Web Signature in compact form (RFC 7515, 3.1).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::CertificateDer;
use serde::Deserialize;

use super::key::{Algorithm, Jwk};
use super::strict;

/// The longest token in bytes. With a few thousand scopes it has as many.
pub(crate) const MAX_TOKEN_BYTES: usize = 128 * 1024;
/// The most certificates of a chain.
const MAX_CHAIN: usize = 8;

/// Why something is no token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwsError {
    /// It is longer than any.
    #[error("it has more than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// It has not three parts in Base64.
    #[error("it is not three parts in Base64url with dots between")]
    Form,
    /// The header cannot be read.
    #[error("its header cannot be read: {0}")]
    Header(String),
    /// It is signed in a way that is not taken.
    #[error("its algorithm, {0:?}, is not taken")]
    Algorithm(String),
    /// It asks for extensions.
    #[error("it says that extensions have to be understood (crit), and there are none")]
    Critical,
    /// `x5c` holds what is no certificate, or too many.
    #[error("x5c is not 1 to {MAX_CHAIN} certificates")]
    Certificates,
}

/// What the header says of the key. A field that is there twice is an error, since others might read the other one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fields {
    alg: String,
    kid: Option<String>,
    jwk: Option<Jwk>,
    x5c: Option<Vec<String>>,
    crit: Option<serde_json::Value>,
}

/// A token, of which nothing is believed yet.
#[derive(Debug)]
pub(crate) struct Jws<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    pub(crate) jwk: Option<Jwk>,
    /// The certificate of the key first.
    pub(crate) chain: Option<Vec<CertificateDer<'static>>>,
    /// What is signed.
    pub(crate) signed: &'a [u8],
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// The certificates of an `x5c` (RFC 7515, 4.1.6).
pub(crate) fn certificates(x5c: &[String]) -> Result<Vec<CertificateDer<'static>>, JwsError> {
    if x5c.is_empty() || x5c.len() > MAX_CHAIN {
        return Err(JwsError::Certificates);
    }
    let decoded = x5c.iter().map(|text| STANDARD.decode(text).map(CertificateDer::from));
    decoded.collect::<Result<_, _>>().map_err(|_| JwsError::Certificates)
}

impl<'a> Jws<'a> {
    /// Reads a token that is signed in one of these ways.
    pub(crate) fn parse(token: &'a str, algorithms: &[Algorithm]) -> Result<Self, JwsError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwsError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwsError::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(JwsError::Form)?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| JwsError::Form);
        let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
        let fields: Fields = strict::from_slice(&header).map_err(|error| JwsError::Header(error.to_string()))?;
        let Fields { alg, kid, jwk, x5c, crit } = fields;
        if crit.is_some() {
            return Err(JwsError::Critical);
        }
        let algorithm = Algorithm::named(&alg).filter(|algorithm| algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or(JwsError::Algorithm(alg))?;
        let chain = x5c.map(|x5c| certificates(&x5c)).transpose()?;
        Ok(Jws { algorithm, kid, jwk, chain, signed: signed.as_bytes(), payload, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str) -> String {
        format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode("s"))
    }

    fn refusal(token: &str) -> JwsError {
        Jws::parse(token, &Algorithm::ALL).unwrap_err()
    }

    #[test]
    fn a_token_is_taken_apart() {
        let text = token(r#"{"typ":"JWT","alg":"ES256","kid":"k","x5c":["AQID"]}"#);
        let jws = Jws::parse(&text, &Algorithm::ALL).unwrap();
        assert_eq!((jws.algorithm, jws.kid.as_deref(), jws.jwk), (Algorithm::ES256, Some("k"), None));
        assert_eq!(jws.chain.unwrap(), [CertificateDer::from(vec![1, 2, 3])]);
        assert_eq!((jws.payload, jws.signature), (b"{}".to_vec(), b"s".to_vec()));
        assert_eq!(jws.signed, &text.as_bytes()[..text.rfind('.').unwrap()]);
        let only = Jws::parse(&text, &[Algorithm::RS256]).unwrap_err();
        assert_eq!(only, JwsError::Algorithm("ES256".into()));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for alg in ["none", "None", "HS256", "HS384", "HS512", "es256", ""] {
            assert_eq!(refusal(&token(&format!(r#"{{"alg":"{alg}"}}"#))), JwsError::Algorithm(alg.into()));
        }
        assert_eq!(refusal(&token("{}")), JwsError::Algorithm(String::new()));
        for text in ["", "a", "a.b", "e30.e30.", "e30.e30.*", "e30=.e30.e30", "e30.e30.e30.e30", " e30.e30.e30"] {
            let refused = refusal(text);
            assert!(matches!(refused, JwsError::Form | JwsError::Algorithm(_)), "{text}: {refused}");
        }
        for header in ["", "7", r#"{"alg":"ES256","alg":"none"}"#, r#"{"alg":"ES256","kid":"a","kid":"b"}"#] {
            assert!(matches!(refusal(&token(header)), JwsError::Header(_)), "{header}");
        }
        assert_eq!(refusal(&token(r#"{"alg":"ES256","crit":["b64"],"b64":false}"#)), JwsError::Critical);
        for x5c in ["[]", "[\"*\"]", &format!("[{}]", ["\"AQID\""; MAX_CHAIN + 1].join(","))] {
            assert_eq!(refusal(&token(&format!(r#"{{"alg":"ES256","x5c":{x5c}}}"#))), JwsError::Certificates);
        }
        assert_eq!(refusal(&"x".repeat(MAX_TOKEN_BYTES + 1)), JwsError::TooLong);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[A-Za-z0-9_.-]{0,80}|\\PC{0,40}") {
            let _ = Jws::parse(&text, &Algorithm::ALL);
        }
    }
}
