//! The security token service, as far as a role for a service account needs it.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use http_body_util::Full;
use jiff::Timestamp;

use super::signature::parameters;
use super::{Stub, decode};

/// The token that the stub believes.
pub(crate) const TOKEN: &str = "a.service+account/token";

impl Stub {
    pub(super) fn assume_role(
        &self,
        parts: &Parts,
        query: &BTreeMap<String, String>,
        body: &Bytes,
    ) -> Response<Full<Bytes>> {
        let form = parameters(std::str::from_utf8(body).unwrap());
        let field = |name: &str| form.get(name).map(|value| decode(value)).unwrap_or_default();
        let asked = |name: &str| query.get(name).map_or("", String::as_str);
        let is_request = parts.method == Method::POST
            && asked("Action") == "AssumeRoleWithOIDC"
            && asked("Version") == "2015-04-01"
            && asked("Format") == "JSON"
            && asked("Timestamp").parse::<Timestamp>().is_ok()
            && !parts.headers.contains_key("authorization")
            && field("RoleArn") == "acs:ram::1:role/registry"
            && field("OIDCProviderArn") == "acs:ram::1:oidc-provider/ack"
            && !field("RoleSessionName").is_empty();
        let (status, text) = if !is_request {
            (400, r#"{"Code":"InvalidParameter","Message":"the stub does not know this request"}"#.to_owned())
        } else if field("OIDCToken") != TOKEN {
            let text =
                r#"{"RequestId":"1","Code":"AuthenticationFail.OIDCToken.Invalid","Message":"This JWT is invalid."}"#;
            (400, text.to_owned())
        } else {
            let mut state = self.state();
            state.counted += 1;
            let number = state.counted;
            let (id, secret, token) =
                (format!("STS.temporary{number}"), format!("temporary{number}"), format!("CAIS+/={number}"));
            state.keys = BTreeMap::from([(id.clone(), (secret.clone(), token.clone()))]);
            let seconds: i64 = field("DurationSeconds").parse().unwrap();
            let end = Timestamp::from_second(Timestamp::now().as_second() + seconds).unwrap();
            let text = format!(
                r#"{{"RequestId":"1","AssumedRoleUser":{{}},"Credentials":{{"SecurityToken":"{token}","Expiration":"{end}","AccessKeySecret":"{secret}","AccessKeyId":"{id}"}}}}"#
            );
            (200, text)
        };
        let answer = Response::builder().status(status).header("content-type", "application/json");
        answer.body(Full::new(Bytes::from(text))).unwrap()
    }
}
