//! A RAM role for a service account: keys that the security token service gives for the token of a Kubernetes service
//! account, as `AssumeRoleWithOIDC` is documented. The token is a file, which is read each time; the request is not signed.

use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::client::at_most;
use super::credentials::{Keys, KeysError, read_file};
use crate::http::Http;
use crate::{Refusal, StoreError};

/// How long keys are wanted for, in seconds: the service's own default, which every role allows.
const SECONDS: u64 = 3600;
/// The most that is read of an answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Which role is taken on, and how. Alibaba Cloud's webhook for pods sets the variables of [`OssRole::from_variables`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OssRole {
    /// The role.
    pub role_arn: String,
    /// The identity provider that the role trusts.
    pub provider_arn: String,
    /// The file of the token.
    pub token_file: PathBuf,
    /// The name that the store's log has for what is done with the role.
    pub session_name: String,
    /// The address of the service.
    pub endpoint: String,
}

impl OssRole {
    /// The role that the environment names, if it names one; `variable` gives its variables.
    #[must_use]
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let variable = |name: &str| variable(&format!("ALIBABA_CLOUD_{name}")).filter(|value| !value.is_empty());
        let is_inside = variable("VPC_ENDPOINT_ENABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let host = match variable("STS_REGION") {
            Some(region) if is_inside => format!("sts-vpc.{region}.aliyuncs.com"),
            Some(region) => format!("sts.{region}.aliyuncs.com"),
            None => "sts.aliyuncs.com".to_owned(),
        };
        Some(OssRole {
            role_arn: variable("ROLE_ARN")?,
            provider_arn: variable("OIDC_PROVIDER_ARN")?,
            token_file: variable("OIDC_TOKEN_FILE")?.into(),
            session_name: variable("ROLE_SESSION_NAME").unwrap_or_else(|| "berth".to_owned()),
            endpoint: format!("https://{host}"),
        })
    }
}

/// The role, and the way to the service.
pub(super) struct Role {
    role: OssRole,
    http: Http,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Assumed {
    credentials: Temporary,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Temporary {
    access_key_id: String,
    access_key_secret: String,
    security_token: String,
    expiration: Timestamp,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Refused {
    code: String,
    message: String,
}

impl Role {
    pub(super) fn new(role: OssRole, http: Http) -> Result<Self, StoreError> {
        let uri: Result<http::Uri, _> = role.endpoint.parse();
        if uri.is_ok_and(|uri| uri.authority().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))) {
            return Ok(Role { role, http });
        }
        let source = format!("{:?} is no address of a security token service", role.endpoint).into();
        Err(StoreError::Settings { key: "storage.oss".to_owned(), source })
    }

    /// Asks for keys.
    pub(super) async fn assume(&self) -> Result<Keys, KeysError> {
        let token = read_file(&self.role.token_file).await?;
        let request = request(&self.role, &token, Timestamp::now()).map_err(|error| unreachable(&error))?;
        let request = request.map(|body| Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync());
        let answer = self.http.send(request).await.map_err(|error| unreachable(&error))?;
        let status = answer.status();
        let body = at_most(answer.into_body(), MAX_ANSWER_BYTES).await.map_err(|error| unreachable(&error))?;
        if !status.is_success() {
            let Refused { code, message } = serde_json::from_slice(&body).unwrap_or_default();
            return Err(KeysError::Refused(Refusal { status: status.as_u16(), code, message }));
        }
        // What the parser says of an answer that it does not understand may show a secret.
        let assumed: Assumed =
            serde_json::from_slice(&body).map_err(|_| unreachable(&"the answer has no credentials in it"))?;
        let Temporary { access_key_id, access_key_secret, security_token, expiration } = assumed.credentials;
        Ok(Keys {
            id: access_key_id,
            secret: access_key_secret,
            token: Some(security_token),
            expires: Some(expiration),
        })
    }
}

fn unreachable(problem: &impl ToString) -> KeysError {
    KeysError::Unreachable(problem.to_string())
}

fn request(role: &OssRole, token: &str, now: Timestamp) -> Result<Request<String>, http::Error> {
    let OssRole { role_arn, provider_arn, token_file: _, session_name, endpoint } = role;
    let query = form(&[
        ("Action", "AssumeRoleWithOIDC"),
        ("Format", "JSON"),
        ("Timestamp", &now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        ("Version", "2015-04-01"),
    ]);
    let body = form(&[
        ("DurationSeconds", &SECONDS.to_string()),
        ("OIDCProviderArn", provider_arn),
        ("OIDCToken", token),
        ("RoleArn", role_arn),
        ("RoleSessionName", session_name),
    ]);
    Request::post(format!("{}/?{query}", endpoint.trim_end_matches('/')))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body)
}

fn form(fields: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        let (sign, value) = (if text.is_empty() { "" } else { "&" }, utf8_percent_encode(value, NON_ALPHANUMERIC));
        let _ = write!(text, "{sign}{name}={value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(variables: &[(&str, &str)]) -> Option<OssRole> {
        let find =
            |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
        OssRole::from_variables(find)
    }

    const VARIABLES: [(&str, &str); 3] = [
        ("ALIBABA_CLOUD_ROLE_ARN", "acs:ram::1:role/registry"),
        ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "acs:ram::1:oidc-provider/ack"),
        ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", "/var/run/secrets/ack.alibabacloud.com/rrsa-tokens/token"),
    ];

    #[test]
    fn the_environment_names_a_role_with_three_variables() {
        let found = role(&VARIABLES).unwrap();
        assert_eq!(found.endpoint, "https://sts.aliyuncs.com");
        assert_eq!(found.session_name, "berth");
        for missing in 0..3 {
            let mut variables = VARIABLES.to_vec();
            variables[missing].1 = "";
            assert_eq!(role(&variables), None);
        }
        let mut variables = VARIABLES.to_vec();
        variables.push(("ALIBABA_CLOUD_STS_REGION", "cn-hangzhou"));
        assert_eq!(role(&variables).unwrap().endpoint, "https://sts.cn-hangzhou.aliyuncs.com");
        variables.push(("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED", "True"));
        assert_eq!(role(&variables).unwrap().endpoint, "https://sts-vpc.cn-hangzhou.aliyuncs.com");
    }

    #[test]
    fn a_token_goes_in_the_body_and_not_in_the_address() {
        let role = role(&VARIABLES).unwrap();
        let request = request(&role, "a.b+c", "2026-01-02T03:04:05.6Z".parse().unwrap()).unwrap();
        assert_eq!(
            request.uri(),
            "https://sts.aliyuncs.com/?Action=AssumeRoleWithOIDC&Format=JSON&Timestamp=2026%2D01%2D02T03%3A04%3A05Z\
             &Version=2015%2D04%2D01"
        );
        assert_eq!(
            request.body(),
            "DurationSeconds=3600&OIDCProviderArn=acs%3Aram%3A%3A1%3Aoidc%2Dprovider%2Fack&OIDCToken=a%2Eb%2Bc\
             &RoleArn=acs%3Aram%3A%3A1%3Arole%2Fregistry&RoleSessionName=berth"
        );
    }
}
