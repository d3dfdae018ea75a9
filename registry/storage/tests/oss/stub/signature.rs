//! Checks the signatures of requests, written from the documentation of Alibaba Cloud's object store and sharing nothing
//! with the driver: other hash functions, another way to encode.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use sha2::{Digest, Sha256};

use super::{Failure, Stub, decode, failure};

/// How far clocks may be apart, in seconds.
const SKEW: i64 = 15 * 60;
/// How long a signed address may be good, in seconds.
const MAX_EXPIRES: i64 = 7 * 24 * 3600;
/// The parameters that version 1 signs, as the documentation lists them, as far as the stub knows them.
const V1_RESOURCES: [&str; 7] =
    ["continuation-token", "delete", "partNumber", "security-token", "uploadId", "uploads", "x-oss-process"];

/// A request as it came, to be checked.
pub(super) struct Received<'a> {
    pub(super) parts: &'a Parts,
    pub(super) bucket: &'a str,
    pub(super) name: &'a str,
    pub(super) query: &'a BTreeMap<String, String>,
}

impl Received<'_> {
    fn header(&self, name: &str) -> &str {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

/// Whether whoever sent a request is who it says, by whichever of the four ways it says so.
pub(super) fn check(stub: &Stub, request: &Received<'_>) -> Result<(), Failure> {
    let authorization = request.header("authorization");
    if let Some(fields) = authorization.strip_prefix("OSS4-HMAC-SHA256 ") {
        return v4_header(stub, request, fields);
    }
    if let Some(fields) = authorization.strip_prefix("OSS ") {
        return v1_header(stub, request, fields);
    }
    if !authorization.is_empty() {
        return Err(failure(400, "InvalidArgument", "the Authorization header is of no known kind"));
    }
    if request.query.contains_key("x-oss-signature-version") {
        return v4_address(stub, request);
    }
    if request.query.contains_key("OSSAccessKeyId") {
        return v1_address(stub, request);
    }
    Err(failure(403, "AccessDenied", "Anonymous access is forbidden for this operation."))
}

fn v4_header(stub: &Stub, request: &Received<'_>, fields: &str) -> Result<(), Failure> {
    let invalid = || failure(400, "InvalidArgument", "the Authorization header is malformed");
    let fields: Option<BTreeMap<&str, &str>> = fields.split(',').map(|field| field.trim().split_once('=')).collect();
    let fields = fields.ok_or_else(invalid)?;
    let field = |name: &str| fields.get(name).copied().filter(|value| !value.is_empty()).ok_or_else(invalid);
    let additional = match fields.get("AdditionalHeaders") {
        None => "",
        Some(_) => field("AdditionalHeaders")?,
    };
    if request.header("x-oss-content-sha256") != "UNSIGNED-PAYLOAD" {
        return Err(failure(400, "InvalidArgument", "x-oss-content-sha256 must be UNSIGNED-PAYLOAD"));
    }
    let date = request.header("x-oss-date");
    check_skew(stub, stamp_seconds(date))?;
    let token = request.header("x-oss-security-token");
    let expected = v4(stub, request, field("Credential")?, date, token, additional, None)?;
    compare(&expected, field("Signature")?)
}

fn v4_address(stub: &Stub, request: &Received<'_>) -> Result<(), Failure> {
    if request.parameter("x-oss-signature-version") != "OSS4-HMAC-SHA256" {
        return Err(failure(400, "InvalidArgument", "no such version of a signature"));
    }
    let date = request.parameter("x-oss-date");
    let expires: i64 = request.parameter("x-oss-expires").parse().unwrap_or_default();
    if !(1..=MAX_EXPIRES).contains(&expires) {
        return Err(failure(400, "AuthorizationQueryParametersError", "x-oss-expires is out of range"));
    }
    let signed = stamp_seconds(date).unwrap_or_default();
    if stub.now() > signed + expires {
        return Err(failure(403, "AccessDenied", "Request has expired."));
    }
    let credential = request.parameter("x-oss-credential");
    let token = request.parameter("x-oss-security-token");
    let additional = request.parameter("x-oss-additional-headers");
    let expected = v4(stub, request, credential, date, token, additional, Some("x-oss-signature"))?;
    compare(&expected, request.parameter("x-oss-signature"))
}

fn v4(
    stub: &Stub,
    request: &Received<'_>,
    credential: &str,
    date: &str,
    token: &str,
    additional: &str,
    without: Option<&str>,
) -> Result<String, Failure> {
    let invalid = || failure(400, "InvalidArgument", "the credential is malformed");
    let (id, scope) = credential.split_once('/').ok_or_else(invalid)?;
    let [day, region, "oss", "aliyun_v4_request"] = scope.split('/').collect::<Vec<_>>()[..] else {
        return Err(invalid());
    };
    if day.is_empty() || !date.starts_with(day) {
        return Err(failure(400, "InvalidArgument", "the dates of the request and of the credential differ"));
    }
    if region != stub.region() {
        return Err(failure(403, "InvalidArgument", "the region of the credential is another"));
    }
    let secret = stub.secret(id, token)?;

    let path = uri_encode(&format!("/{}/{}", request.bucket, request.name), true);
    let query: BTreeMap<String, String> = request
        .query
        .iter()
        .filter(|(name, _)| Some(name.as_str()) != without)
        .map(|(name, value)| (uri_encode(name, false), uri_encode(value, false)))
        .collect();
    let query: Vec<String> = query
        .into_iter()
        .map(|(name, value)| if value.is_empty() { name } else { format!("{name}={value}") })
        .collect();
    let mut headers = BTreeMap::new();
    for (name, value) in &request.parts.headers {
        let name = name.as_str();
        let always = name.starts_with("x-oss-") || name == "content-type" || name == "content-md5";
        if always || additional.split(';').any(|wanted| wanted == name) {
            headers.insert(name, value.to_str().unwrap_or_default().trim());
        }
    }
    let headers: String = headers.into_iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let method = request.parts.method.as_str();
    let canonical = format!("{method}\n{path}\n{}\n{headers}\n{additional}\nUNSIGNED-PAYLOAD", query.join("&"));

    let hashed = Sha256::digest(canonical.as_bytes());
    let text = format!("OSS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&hashed));
    let mut key = sha256_mac(format!("aliyun_v4{secret}").as_bytes(), day);
    for step in [region, "oss", "aliyun_v4_request"] {
        key = sha256_mac(&key, step);
    }
    Ok(hex(&sha256_mac(&key, &text)))
}

fn v1_header(stub: &Stub, request: &Received<'_>, fields: &str) -> Result<(), Failure> {
    let (id, signature) = fields
        .split_once(':')
        .ok_or_else(|| failure(400, "InvalidArgument", "the Authorization header is malformed"))?;
    let date = request.header("date");
    let parsed = jiff::fmt::rfc2822::parse(date).ok().map(|time| time.timestamp().as_second());
    check_skew(stub, parsed)?;
    let secret = stub.secret(id, request.header("x-oss-security-token"))?;
    compare(&v1(request, &secret, date), signature)
}

fn v1_address(stub: &Stub, request: &Received<'_>) -> Result<(), Failure> {
    let expires = request.parameter("Expires");
    if stub.now() > expires.parse().unwrap_or_default() {
        return Err(failure(403, "AccessDenied", "Request has expired."));
    }
    let secret = stub.secret(request.parameter("OSSAccessKeyId"), request.parameter("security-token"))?;
    compare(&v1(request, &secret, expires), request.parameter("Signature"))
}

fn v1(request: &Received<'_>, secret: &str, date: &str) -> String {
    let mut headers = BTreeMap::new();
    for (name, value) in &request.parts.headers {
        if name.as_str().starts_with("x-oss-") {
            headers.insert(name.as_str(), value.to_str().unwrap_or_default().trim());
        }
    }
    let headers: String = headers.into_iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let signed: Vec<String> = request
        .query
        .iter()
        .filter(|(name, _)| V1_RESOURCES.contains(&name.as_str()) || name.starts_with("response-"))
        .map(|(name, value)| if value.is_empty() { name.clone() } else { format!("{name}={value}") })
        .collect();
    let mut resource = format!("/{}/{}", request.bucket, request.name);
    if !signed.is_empty() {
        resource = format!("{resource}?{}", signed.join("&"));
    }
    let (md5, kind) = (request.header("content-md5"), request.header("content-type"));
    let text = format!("{}\n{md5}\n{kind}\n{date}\n{headers}{resource}", request.parts.method);
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

fn compare(expected: &str, given: &str) -> Result<(), Failure> {
    if expected == given {
        return Ok(());
    }
    let text = "The request signature we calculated does not match the signature you provided. Check your key and \
                signing method.";
    Err(failure(403, "SignatureDoesNotMatch", text))
}

fn check_skew(stub: &Stub, seconds: Option<i64>) -> Result<(), Failure> {
    let seconds = seconds.ok_or_else(|| failure(403, "AccessDenied", "the request has no valid date"))?;
    if (stub.now() - seconds).abs() <= SKEW {
        return Ok(());
    }
    let text = "The difference between the request time and the current time is too large.";
    Err(failure(403, "RequestTimeTooSkewed", text))
}

/// Reads `20231216T162057Z`.
fn stamp_seconds(text: &str) -> Option<i64> {
    let zoned = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_second())
}

fn sha256_mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Encodes everything but letters, digits, `-`, `.`, `_` and `~`.
fn uri_encode(text: &str, slashes_stay: bool) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        let stays = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (slashes_stay && byte == b'/');
        if stays {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The parameters of a raw query.
pub(super) fn parameters(raw: &str) -> BTreeMap<String, String> {
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    // The stub's own arithmetic is checked by the same published signature as the driver's, so that both are not wrong in
    // the same way (alibabacloud-oss-go-sdk-v2, oss/signer/signer_test.go).
    use super::*;

    #[test]
    fn the_stub_computes_what_the_vendor_publishes() {
        let stub = Stub::unbound("cn-hangzhou", &[("ak", "sk")]);
        let request = http::Request::put("http://bucket.oss-cn-hangzhou.aliyuncs.com/")
            .header("x-oss-head1", "value")
            .header("abc", "value")
            .header("zabc", "value")
            .header("content-type", "text/plain")
            .header("x-oss-content-sha256", "UNSIGNED-PAYLOAD")
            .header("x-oss-date", "20231216T162057Z")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let query = parameters("%2Bparam1=value3&%2Bparam2=&%7Cparam1=value4&%7Cparam2=&param1=value1&param2=");
        let received = Received { parts: &parts, bucket: "bucket", name: "1234+-/123/1.txt", query: &query };
        let credential = "ak/20231216/cn-hangzhou/oss/aliyun_v4_request";
        let signature = v4(&stub, &received, credential, "20231216T162057Z", "", "", None).unwrap();
        assert_eq!(signature, "e21d18daa82167720f9b1047ae7e7f1ce7cb77a31e8203a7d5f4624fa0284afe");
    }
}
