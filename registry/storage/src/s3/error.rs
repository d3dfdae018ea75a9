//! The one place where what the SDK and the store say becomes a store's error.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use super::S3;
use crate::{BoxError, Key, Refusal, StoreError};

/// The codes for what is not there.
const MISSING: [&str; 4] = ["NoSuchKey", "NoSuchBucket", "NoSuchUpload", "NotFound"];

/// What a request is about.
#[derive(Clone, Copy)]
pub(super) enum At<'a> {
    /// An object, which may be missing.
    Object(&'a Key),
    /// The bucket itself.
    Bucket,
}

impl S3 {
    /// What a failed request means.
    pub(super) fn failed<E>(&self, at: At<'_>, action: &'static str, error: SdkError<E, HttpResponse>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let place = match at {
            At::Object(key) => key.to_string(),
            At::Bucket => self.place_text(),
        };
        // A copy can fail after its answer has begun: then it has the status of a success, and a code.
        let is_refusal = |answer: &&HttpResponse| error.code().is_some() || !answer.status().is_success();
        let Some(answer) = error.raw_response().filter(is_refusal) else {
            return unanswered(place, action, error);
        };
        // A document that has broken off says nothing that can be relied on, above all not that an object is missing. To
        // `HEAD`, which has none, the SDK gives a code by itself.
        let code = error.code().unwrap_or_default();
        if answer.status().as_u16() == 404 && MISSING.iter().any(|whole| *whole != code && whole.starts_with(code)) {
            return StoreError::unreachable(place, action, "an answer of status 404 without a reason that can be read");
        }
        let refusal = Refusal {
            status: answer.status().as_u16(),
            code: error.code().unwrap_or_default().to_owned(),
            message: error.message().unwrap_or_default().to_owned(),
        };
        if let (At::Object(key), 404, "NoSuchKey" | "NotFound") = (at, refusal.status, refusal.code.as_str()) {
            return StoreError::not_found(key);
        }
        let header = |name| answer.headers().get(name);
        let advice = match refusal.code.as_str() {
            "RequestTimeTooSkewed" => Some(skew(header("date"), self.now())),
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken" => {
                self.key_in_use().map(|key| format!("the access key is {key}"))
            }
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
                header("x-amz-bucket-region").map(|region| format!("the bucket is in the region {region}"))
            }
            _ => None,
        };
        StoreError::service(place, action, advised(refusal, advice))
    }
}

/// The server's words, and what they mean here.
fn advised(refusal: Refusal, advice: Option<String>) -> Refusal {
    let Refusal { status, code, message } = refusal;
    let words = [Some(message).filter(|message| !message.is_empty()), advice];
    let words: Vec<String> = words.into_iter().flatten().collect();
    Refusal { status, code, message: words.join("; ") }
}

/// Nothing came back that could be understood: because nothing was sent, nobody answered, or an answer broke off.
fn unanswered<E>(place: String, action: &'static str, error: SdkError<E, HttpResponse>) -> StoreError
where
    E: std::error::Error + Send + Sync + 'static,
{
    // The SDK's own words, such as "dispatch failure", say nothing that its source does not.
    let source: BoxError = match error {
        SdkError::DispatchFailure(failure) if failure.as_connector_error().is_some() => {
            match SdkError::<E, HttpResponse>::DispatchFailure(failure).into_source() {
                Ok(source) => innermost_words(source),
                Err(error) => error.into(),
            }
        }
        error => error.into_source().unwrap_or_else(Into::into),
    };
    if no_credentials(source.as_ref()) {
        return StoreError::Settings {
            key: "storage.s3.accesskey".to_owned(),
            source:
                "is not set, and there are no credentials in the environment, in a profile, for the service account, \
                     the pod or the machine"
                    .into(),
        };
    }
    StoreError::unreachable(place, action, source)
}

/// A connector's error tells only which kind it is, its source what happened.
fn innermost_words(error: BoxError) -> BoxError {
    match error.downcast::<aws_smithy_runtime_api::client::result::ConnectorError>() {
        Ok(connector) => connector.into_source(),
        Err(error) => error,
    }
}

/// Whether none of the places where credentials may come from has any.
fn no_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(cause) = error {
        if let Some(CredentialsError::CredentialsNotLoaded(_)) = cause.downcast_ref() {
            return true;
        }
        error = cause.source();
    }
    false
}

/// What is wrong with the clock, from the `Date` of an answer.
fn skew(date: Option<&str>, now: SystemTime) -> String {
    let date = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
    let Some(store) = date.and_then(|date| SystemTime::try_from(date).ok()) else {
        return "look at the clock of this machine".to_owned();
    };
    let (by, way) = match now.duration_since(store) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    format!("look at the clock of this machine: it is {} {way} the store's", rough(by))
}

fn rough(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=119 => format!("{seconds} seconds"),
        seconds @ 120..=7199 => format!("{} minutes", seconds / 60),
        seconds => format!("{} hours", seconds / 3600),
    }
}

/// The refusal in an error, if it is one.
pub(super) fn refusal(error: &StoreError) -> Option<&Refusal> {
    match error {
        StoreError::Service { refusal, .. } => Some(refusal),
        _ => None,
    }
}

/// Whether the server refused with one of these codes.
pub(super) fn is_refused(error: &StoreError, codes: &[&str]) -> bool {
    refusal(error).is_some_and(|refusal| codes.contains(&refusal.code.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_named_with_its_way_and_its_size() {
        fn check(now_seconds: u64, expected: &str) {
            let now =
                SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 + now_seconds) - Duration::from_secs(10_000);
            assert_eq!(skew(Some("Sun, 06 Nov 1994 08:49:37 GMT"), now), expected);
        }
        check(10_030, "look at the clock of this machine: it is 30 seconds ahead of the store's");
        check(8_000, "look at the clock of this machine: it is 33 minutes behind the store's");
        check(20_000, "look at the clock of this machine: it is 2 hours ahead of the store's");
        assert_eq!(skew(None, SystemTime::now()), "look at the clock of this machine");
        assert_eq!(skew(Some("yesterday"), SystemTime::now()), "look at the clock of this machine");
    }

    #[test]
    fn advice_comes_behind_the_servers_words() {
        let refusal = |message: &str| Refusal { status: 403, code: "C".into(), message: message.into() };
        assert_eq!(advised(refusal("no"), Some("look".into())).message, "no; look");
        assert_eq!(advised(refusal(""), Some("look".into())).message, "look");
        assert_eq!(advised(refusal("no"), None).message, "no");
    }
}
