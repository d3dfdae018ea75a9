//! A JSON document that carries its own signatures, as Docker's libtrust writes it ("pretty JWS").
//!
//! The signed text is not the document: a `signatures` field was put in before its closing brace. Where, and what stood
//! there, is said in the protected header of each signature (`formatLength`, `formatTail`), so that the text can be put
//! together again byte for byte. A signature is over `<protected header>.<text>`, both in URL-safe Base64 (RFC 7515).

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

use super::key::{Jwk, PublicKey, TrustKey};

/// The most signatures that are looked at: Docker writes one.
const MAX_SIGNATURES: usize = 16;

/// Padding is optional and unused bits are not looked at, as in libtrust.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Why a document is not one whose signatures verify.
#[derive(Debug, thiserror::Error)]
pub enum JwsError {
    /// The document, or the protected header of a signature, is not JSON of the right form.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A field that holds Base64 does not.
    #[error("{field}: {source}")]
    Base64 {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: base64::DecodeError,
    },
    /// There are no signatures, or more than are looked at.
    #[error("it has {0} signatures, not 1 to {MAX_SIGNATURES}")]
    Signatures(usize),
    /// The signatures disagree on what is signed, or the document is shorter than they say.
    #[error("formatLength and formatTail do not fit the document")]
    Format,
    /// The text cannot be signed because it is not a JSON object with fields.
    #[error("it is not a JSON object with fields")]
    NotAnObject,
    /// A signature names no key that can be read.
    #[error("the key of a signature: {0}")]
    Key(#[source] super::key::KeyError),
    /// A signature is not of the text by its key.
    #[error("a signature does not verify")]
    Unverified,
    /// The registry has no key of its own.
    #[error(transparent)]
    TrustKey(#[from] super::key::TrustKeyError),
    /// The registry's own key did not sign.
    #[error("cannot sign with the trust key")]
    Sign,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    signatures: Vec<ParsedSignature>,
}

#[derive(Deserialize)]
struct ParsedSignature {
    header: ParsedHeader,
    signature: String,
    #[serde(default)]
    protected: String,
}

#[derive(Deserialize)]
struct ParsedHeader {
    alg: String,
    #[serde(default)]
    jwk: Option<Jwk>,
    #[serde(default)]
    x5c: Vec<String>,
}

/// Only these two say what is signed; the time is anybody's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Protected {
    format_length: usize,
    format_tail: String,
}

/// The signed text of a document, if every one of its signatures is of it. Whose keys these are is not asked, and a chain
/// of certificates only brings its first one's key: what is trusted is for whoever pulls to say.
pub(super) fn open(raw: &[u8]) -> Result<Vec<u8>, JwsError> {
    let Document { signatures } = serde_json::from_slice(raw)?;
    if signatures.is_empty() || signatures.len() > MAX_SIGNATURES {
        return Err(JwsError::Signatures(signatures.len()));
    }
    let mut text: Option<Vec<u8>> = None;
    for signature in &signatures {
        let Protected { format_length, format_tail } =
            serde_json::from_slice(&decode("signatures.protected", &signature.protected)?)?;
        let tail = decode("signatures.protected.formatTail", &format_tail)?;
        let head = raw.get(..format_length).ok_or(JwsError::Format)?;
        let found = [head, &tail].concat();
        if text.as_ref().is_some_and(|text| *text != found) {
            return Err(JwsError::Format);
        }
        text = Some(found);
    }
    let text = text.ok_or(JwsError::Signatures(0))?;
    let encoded = BASE64.encode(&text);
    for ParsedSignature { header, signature, protected } in &signatures {
        let key = match (header.x5c.first(), &header.jwk) {
            (Some(certificate), _) => PublicKey::of_certificate(certificate, &header.alg),
            (None, Some(jwk)) => PublicKey::of_jwk(jwk, &header.alg),
            (None, None) => Err(super::key::KeyError::Missing),
        };
        let signature = decode("signatures.signature", signature)?;
        let signed = format!("{protected}.{encoded}");
        if !key.map_err(JwsError::Key)?.verifies(signed.as_bytes(), &signature) {
            return Err(JwsError::Unverified);
        }
    }
    Ok(text)
}

/// Base64 may be broken over lines.
fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, JwsError> {
    let text: String = text.split_ascii_whitespace().collect();
    BASE64.decode(text).map_err(|source| JwsError::Base64 { field, source })
}

#[derive(Serialize)]
struct Signature<'a> {
    header: Header<'a>,
    signature: String,
    protected: String,
}

#[derive(Serialize)]
struct Header<'a> {
    jwk: &'a Jwk,
    alg: &'a str,
}

/// A text with one signature in it, laid out as libtrust does: indented if the text is.
pub(super) fn sign(text: &[u8], key: &TrustKey, now: jiff::Timestamp) -> Result<Vec<u8>, JwsError> {
    let brace = text.trim_ascii_end().strip_suffix(b"}").ok_or(JwsError::NotAnObject)?;
    let head = brace.trim_ascii_end();
    if head.is_empty() || head.ends_with(b"{") || head.ends_with(b",") {
        return Err(JwsError::NotAnObject);
    }
    let tail = BASE64.encode(&text[head.len()..]);
    let length = head.len();
    let protected = format!("{{\"formatLength\":{length},\"formatTail\":\"{tail}\",\"time\":\"{now:.0}\"}}");
    let protected = BASE64.encode(protected);
    let signed = format!("{protected}.{}", BASE64.encode(text));
    let signature = key.sign(signed.as_bytes()).map_err(|_| JwsError::Sign)?;
    let header = Header { jwk: key.jwk(), alg: key.algorithm() };
    let signatures = [Signature { header, signature: BASE64.encode(signature), protected }];
    let field = match indent(text) {
        None => format!(",\"signatures\":{}}}", serde_json::to_string(&signatures)?),
        Some(indent) => {
            let mut written = Vec::new();
            let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
            signatures.serialize(&mut serde_json::Serializer::with_formatter(&mut written, formatter))?;
            let indent = String::from_utf8_lossy(indent);
            // No value holds a line break, so every one of them begins a line.
            let written = String::from_utf8_lossy(&written).replace('\n', &format!("\n{indent}"));
            format!(",\n{indent}\"signatures\": {written}\n}}")
        }
    };
    Ok([head, field.as_bytes()].concat())
}

/// What the first field of an object on lines of its own stands behind.
fn indent(text: &[u8]) -> Option<&[u8]> {
    let fields = text.strip_prefix(b"{\n")?;
    let length = fields.iter().position(|byte| *byte == b'"').filter(|length| *length > 0)?;
    Some(&fields[..length])
}
