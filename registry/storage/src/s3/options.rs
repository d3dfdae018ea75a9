//! What the driver is told, and whether that can be right. Pure.

use std::fmt;
use std::path::PathBuf;

use aws_sdk_s3::types::{ObjectCannedAcl, StorageClass};
use http::{HeaderValue, Uri};

use crate::bucket::Root;
use crate::{BoxError, StoreError, Trust};

/// The least size of a part but the last, in bytes.
pub(super) const MIN_PART_BYTES: u64 = 5 << 20;
/// The most of an object that one request writes or copies, in bytes.
pub(super) const MAX_PART_BYTES: u64 = 5 << 30;
/// How many parts are copied at once, whatever is asked for: each is a connection, and a store slows those down that ask for
/// more.
const MOST_COPIES_AT_ONCE: u64 = 32;
/// The region of a store that is not Amazon's, where none is named.
const ANY_REGION: &str = "us-east-1";

/// The settings of the driver, as `storage.s3` of the configuration has them.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// `bucket`.
    pub bucket: String,
    /// `region`. Needed unless there is an endpoint.
    pub region: Option<String>,
    /// `regionendpoint`: the address of a store that is not Amazon's.
    pub endpoint: Option<String>,
    /// `redirectendpoint`: the address that clients are sent to, where it is another.
    pub redirect_endpoint: Option<String>,
    /// Who the driver is.
    pub credentials: S3Credentials,
    /// `forcepathstyle`: whether the bucket is part of the path. Unset: where there is an endpoint.
    pub force_path_style: Option<bool>,
    /// `rootdirectory`.
    pub root_directory: String,
    /// `encrypt`: whether the store encrypts objects.
    pub encrypt: bool,
    /// `keyid`: with which key of its key service.
    pub key_id: Option<String>,
    /// `secure`: whether an endpoint without a scheme is spoken to over TLS. Amazon's always are.
    pub secure: bool,
    /// Whose certificates are believed: `skipverify`, `cafile`.
    pub trust: Trust,
    /// `v4auth`. Signatures of version 2 are not made; whoever asked for them gets a warning.
    pub v4_auth: bool,
    /// `chunksize`: the size of a part of an upload, in bytes.
    pub chunk_bytes: u64,
    /// `multipartcopychunksize`: the size of a part of a copy, in bytes.
    pub copy_chunk_bytes: u64,
    /// `multipartcopymaxconcurrency`: how many parts are copied at once.
    pub copies_at_once: u64,
    /// `multipartcopythresholdsize`: the largest object that is copied whole, in bytes.
    pub copy_threshold_bytes: u64,
    /// `storageclass`; `NONE` to not name one.
    pub storage_class: String,
    /// `objectacl`.
    pub object_acl: String,
    /// `useragent`: what is added to the `User-Agent`.
    pub user_agent: Option<String>,
    /// `usedualstack`: whether Amazon's endpoints for IPv4 and IPv6 are used.
    pub dual_stack: bool,
    /// `accelerate`: whether Amazon's transfer acceleration is used.
    pub accelerate: bool,
    /// `usefipsendpoint`: whether Amazon's FIPS endpoints are used.
    pub fips: bool,
    /// `loglevel`: whether each request is logged, with its status and duration. How it is signed never is.
    pub log_requests: bool,
}

impl Default for S3Options {
    /// What the configuration's defaults are, without a bucket.
    fn default() -> Self {
        S3Options {
            bucket: String::new(),
            region: None,
            endpoint: None,
            redirect_endpoint: None,
            credentials: S3Credentials::Surroundings,
            force_path_style: None,
            root_directory: String::new(),
            encrypt: false,
            key_id: None,
            secure: true,
            trust: Trust::default(),
            v4_auth: true,
            chunk_bytes: 2 * MIN_PART_BYTES,
            copy_chunk_bytes: 32 << 20,
            copies_at_once: 100,
            copy_threshold_bytes: 32 << 20,
            storage_class: "STANDARD".to_owned(),
            object_acl: "private".to_owned(),
            user_agent: None,
            dual_stack: false,
            accelerate: false,
            fips: false,
            log_requests: false,
        }
    }
}

/// Where credentials come from.
#[derive(Clone, PartialEq, Eq)]
pub enum S3Credentials {
    /// From what surrounds the process: its environment, a profile, the token of a service account, the pod or the machine.
    Surroundings,
    /// `accesskey`, `secretkey` and `sessiontoken`.
    Keys {
        /// The name of the key.
        access_key: String,
        /// The key.
        secret_key: String,
        /// What belongs to temporary credentials.
        session_token: Option<String>,
    },
    /// `credentialsdirectory`: files of these names, which are read again when they change.
    Directory(PathBuf),
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            S3Credentials::Surroundings => formatter.write_str("Surroundings"),
            S3Credentials::Keys { access_key, .. } => write!(formatter, "Keys({})", shortened(access_key)),
            S3Credentials::Directory(path) => write!(formatter, "Directory({})", path.display()),
        }
    }
}

/// The name of a key as it may be shown: enough to tell keys apart.
pub(super) fn shortened(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    // Of a short name, the ends would be all of it.
    let (head, tail) = match characters.len() {
        0..=4 => (0, 0),
        5..=11 => (2, 0),
        _ => (4, 2),
    };
    let text = |part: &[char]| part.iter().collect::<String>();
    format!("{}…{}", text(&characters[..head]), text(&characters[characters.len() - tail..]))
}

/// The settings as the driver uses them.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) bucket: String,
    pub(super) root: Root,
    pub(super) region: String,
    pub(super) endpoint: Option<String>,
    pub(super) redirect_endpoint: Option<String>,
    pub(super) path_style: bool,
    pub(super) encryption: Encryption,
    pub(super) chunk_bytes: usize,
    pub(super) copy_chunk_bytes: u64,
    pub(super) copies_at_once: usize,
    pub(super) copy_threshold_bytes: u64,
    pub(super) storage_class: Option<StorageClass>,
    pub(super) acl: Option<ObjectCannedAcl>,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) dual_stack: bool,
    pub(super) accelerate: bool,
    pub(super) fips: bool,
    pub(super) log_requests: bool,
    /// What was asked for in vain.
    pub(super) warnings: Vec<&'static str>,
}

/// How the store encrypts what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// As the bucket's own settings say.
    Unasked,
    /// With a key of the store.
    Store,
    /// With a key of the key service.
    Key(String),
}

impl Settings {
    /// Settings, if they can be right.
    pub(super) fn read(options: &S3Options) -> Result<Settings, StoreError> {
        let S3Options {
            bucket,
            region,
            endpoint,
            redirect_endpoint,
            credentials,
            force_path_style,
            root_directory,
            encrypt,
            key_id,
            secure,
            trust: _,
            v4_auth,
            chunk_bytes,
            copy_chunk_bytes,
            copies_at_once,
            copy_threshold_bytes,
            storage_class,
            object_acl,
            user_agent,
            dual_stack,
            accelerate,
            fips,
            log_requests,
        } = options;
        if bucket.is_empty() || bucket.contains('/') {
            return Err(wrong("bucket", "must name a bucket"));
        }
        let endpoint = filled(endpoint).map(|text| address("regionendpoint", text, *secure)).transpose()?;
        let redirect_endpoint = filled(redirect_endpoint).map(redirect).transpose()?;
        let region = match (filled(region), &endpoint) {
            (Some(region), _) => region.to_owned(),
            (None, Some(_)) => ANY_REGION.to_owned(),
            (None, None) => return Err(wrong("region", "must be set unless regionendpoint is")),
        };
        if let S3Credentials::Keys { access_key, secret_key, .. } = credentials
            && (access_key.is_empty() || secret_key.is_empty())
        {
            return Err(wrong("accesskey", "and secretkey must both be set, or neither"));
        }
        let encryption = match (encrypt, filled(key_id)) {
            (false, None) => Encryption::Unasked,
            (true, None) => Encryption::Store,
            (true, Some(key)) => Encryption::Key(key.to_owned()),
            (false, Some(_)) => return Err(wrong("keyid", "needs encrypt: true")),
        };
        let is_ours = endpoint.is_some();
        let mut warnings = Vec::new();
        let mut warn = |is_so: bool, text: &'static str| warnings.extend(is_so.then_some(text));
        warn(!v4_auth, "v4auth: false is passed over: signatures of version 2 are not made");
        warn(!secure && !is_ours, "secure: false is passed over: Amazon is spoken to over TLS");
        warn(is_ours && *dual_stack, "usedualstack is passed over: regionendpoint says where to go");
        warn(is_ours && *accelerate, "accelerate is passed over: regionendpoint says where to go");
        warn(is_ours && *fips, "usefipsendpoint is passed over: regionendpoint says where to go");
        Ok(Settings {
            bucket: bucket.clone(),
            root: Root::new(root_directory),
            region,
            path_style: force_path_style.unwrap_or(is_ours),
            endpoint,
            redirect_endpoint,
            encryption,
            chunk_bytes: part_bytes("chunksize", *chunk_bytes)? as usize,
            copy_chunk_bytes: part_bytes("multipartcopychunksize", *copy_chunk_bytes)?,
            copies_at_once: match *copies_at_once {
                0 => return Err(wrong("multipartcopymaxconcurrency", "must be at least 1")),
                count => count.min(MOST_COPIES_AT_ONCE) as usize,
            },
            copy_threshold_bytes: (*copy_threshold_bytes).min(MAX_PART_BYTES),
            storage_class: class(storage_class)?,
            acl: acl(object_acl)?,
            user_agent: filled(user_agent)
                .map(|text| HeaderValue::from_str(text).map_err(|error| wrong("useragent", error)))
                .transpose()?,
            dual_stack: *dual_stack && !is_ours,
            accelerate: *accelerate && !is_ours,
            fips: *fips && !is_ours,
            log_requests: *log_requests,
            warnings,
        })
    }
}

fn filled(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

pub(super) fn wrong(key: &str, source: impl Into<BoxError>) -> StoreError {
    StoreError::Settings { key: format!("storage.s3.{key}"), source: source.into() }
}

fn part_bytes(key: &str, bytes: u64) -> Result<u64, StoreError> {
    if (MIN_PART_BYTES..=MAX_PART_BYTES).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(wrong(key, format!("must be from {MIN_PART_BYTES} to {MAX_PART_BYTES} bytes")))
    }
}

/// An endpoint with a scheme. A port that the scheme implies is left out: it is not part of what is signed.
fn address(key: &str, text: &str, secure: bool) -> Result<String, StoreError> {
    let text = match (text.contains("://"), secure) {
        (true, _) => text.to_owned(),
        (false, true) => format!("https://{text}"),
        (false, false) => format!("http://{text}"),
    };
    let uri: Uri = text.parse().map_err(|error| wrong(key, BoxError::from(error)))?;
    let (Some(scheme @ ("http" | "https")), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(wrong(key, "must be an address such as https://s3.example.com"));
    };
    if uri.query().is_some() || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(wrong(key, "must be an address without a query, and without a user"));
    }
    let port = uri.port_u16().filter(|port| (scheme, *port) != ("http", 80) && (scheme, *port) != ("https", 443));
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{scheme}://{host}{port}{}", uri.path().trim_end_matches('/')))
}

fn redirect(text: &str) -> Result<String, StoreError> {
    const KEY: &str = "redirectendpoint";
    if !text.contains("://") {
        return Err(wrong(KEY, "must begin with http:// or https://"));
    }
    let address = address(KEY, text, true)?;
    let host = address.split_once("://").map_or("", |(_, host)| host);
    if host.contains('/') { Err(wrong(KEY, "must have no path")) } else { Ok(address) }
}

fn class(text: &str) -> Result<Option<StorageClass>, StoreError> {
    let text = text.trim().to_uppercase();
    match text.as_str() {
        "NONE" => Ok(None),
        "" => Err(wrong("storageclass", "must name a class, or be NONE")),
        // Stores have classes of their own, so any name is taken.
        name if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) => {
            Ok(Some(StorageClass::from(name)))
        }
        _ => Err(wrong("storageclass", format!("{text:?} is not the name of a class"))),
    }
}

/// Private is what an object is anyhow, and stores that have no such lists refuse to be told one.
fn acl(text: &str) -> Result<Option<ObjectCannedAcl>, StoreError> {
    match text.trim() {
        "" | "private" => Ok(None),
        name if ObjectCannedAcl::values().contains(&name) => Ok(Some(ObjectCannedAcl::from(name))),
        name => {
            let known = ObjectCannedAcl::values().join(", ");
            Err(wrong("objectacl", format!("{name:?} is none of {known}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(change: impl FnOnce(&mut S3Options)) -> S3Options {
        let mut options =
            S3Options { bucket: "images".into(), region: Some("eu-west-1".into()), ..S3Options::default() };
        change(&mut options);
        options
    }

    #[test]
    fn an_endpoint_gets_a_scheme_and_loses_what_is_not_signed() {
        fn check(endpoint: &str, secure: bool, expected: Option<&str>) {
            let read = Settings::read(&options(|o| (o.endpoint, o.secure) = (Some(endpoint.into()), secure)));
            assert_eq!(read.ok().and_then(|settings| settings.endpoint).as_deref(), expected, "{endpoint}");
        }
        check("s3.example.com", true, Some("https://s3.example.com"));
        check("s3.example.com:9000", false, Some("http://s3.example.com:9000"));
        check("http://s3.example.com:80/", true, Some("http://s3.example.com"));
        check("https://s3.example.com:443", false, Some("https://s3.example.com"));
        check("https://s3.example.com/base/", true, Some("https://s3.example.com/base"));
        check("http://[::1]:9000", true, Some("http://[::1]:9000"));
        for wrong in
            ["ftp://s3.example.com", "https://", "https://a b", "https://s3.example.com?x=y", "https://me@host"]
        {
            check(wrong, true, None);
        }
    }

    #[test]
    fn the_path_holds_the_bucket_where_there_is_an_endpoint_unless_it_is_said() {
        let style = |endpoint: Option<&str>, force| {
            let options = options(|o| (o.endpoint, o.force_path_style) = (endpoint.map(Into::into), force));
            Settings::read(&options).unwrap().path_style
        };
        assert!(!style(None, None));
        assert!(style(Some("https://s3.example.com"), None));
        assert!(!style(Some("https://s3.example.com"), Some(false)));
        assert!(style(None, Some(true)));
    }

    #[test]
    fn what_cannot_be_right_names_its_key() {
        fn check(key: &str, change: impl FnOnce(&mut S3Options)) {
            let error = Settings::read(&options(change)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("storage.s3.{key}: ")), "{error}");
        }
        check("bucket", |o| o.bucket.clear());
        check("bucket", |o| o.bucket = "images/below".into());
        check("region", |o| o.region = None);
        check("region", |o| o.region = Some(" ".into()));
        check("keyid", |o| o.key_id = Some("alias/berth".into()));
        check("chunksize", |o| o.chunk_bytes = MIN_PART_BYTES - 1);
        check("chunksize", |o| o.chunk_bytes = MAX_PART_BYTES + 1);
        check("multipartcopychunksize", |o| o.copy_chunk_bytes = 0);
        check("multipartcopymaxconcurrency", |o| o.copies_at_once = 0);
        check("storageclass", |o| o.storage_class = String::new());
        check("storageclass", |o| o.storage_class = "a b".into());
        check("objectacl", |o| o.object_acl = "mine".into());
        check("useragent", |o| o.user_agent = Some("a\nb".into()));
        check("redirectendpoint", |o| o.redirect_endpoint = Some("cdn.example.com".into()));
        check("redirectendpoint", |o| o.redirect_endpoint = Some("https://cdn.example.com/v1".into()));
        check("accesskey", |o| {
            o.credentials =
                S3Credentials::Keys { access_key: "AKIA".into(), secret_key: String::new(), session_token: None };
        });
    }

    #[test]
    fn what_is_asked_for_in_other_words_is_understood() {
        let read = |change: fn(&mut S3Options)| Settings::read(&options(change)).unwrap();
        assert_eq!(read(|o| o.storage_class = "none".into()).storage_class, None);
        let class = read(|o| o.storage_class = "intelligent_tiering".into()).storage_class;
        assert_eq!(class, Some(StorageClass::IntelligentTiering));
        assert_eq!(read(|_| ()).acl, None);
        assert_eq!(read(|o| o.object_acl = "public-read".into()).acl, Some(ObjectCannedAcl::PublicRead));
        assert_eq!(read(|o| o.encrypt = true).encryption, Encryption::Store);
        let key = read(|o| (o.encrypt, o.key_id) = (true, Some("alias/berth".into()))).encryption;
        assert_eq!(key, Encryption::Key("alias/berth".into()));
        assert_eq!(read(|o| o.copies_at_once = 1000).copies_at_once, 32);
        assert_eq!(read(|o| o.copy_threshold_bytes = u64::MAX).copy_threshold_bytes, MAX_PART_BYTES);
        let elsewhere = read(|o| (o.region, o.endpoint, o.fips) = (None, Some("http://host:9000".into()), true));
        assert_eq!((elsewhere.region.as_str(), elsewhere.fips, elsewhere.warnings.len()), ("us-east-1", false, 1));
    }

    #[test]
    fn no_secret_is_shown() {
        let options = options(|o| {
            o.credentials = S3Credentials::Keys {
                access_key: "AKIAIOSFODNN7EXAMPLE".into(),
                secret_key: "the-secret".into(),
                session_token: Some("the-token".into()),
            };
        });
        let shown = format!("{options:?}");
        assert!(shown.contains("AKIA…LE"), "{shown}");
        assert!(!shown.contains("the-secret") && !shown.contains("the-token") && !shown.contains("IOSFODNN7"));
        for (name, expected) in [("", "…"), ("root", "…"), ("minio", "mi…"), ("berth-access", "bert…ss")] {
            assert_eq!(shortened(name), expected);
        }
    }
}
