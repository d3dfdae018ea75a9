//! The SDK's client, told to add nothing of its own to a request but the signature.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::endpoint::{Endpoint, EndpointFuture, Params, ResolveEndpoint};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_smithy_async::time::TimeSource;
use aws_smithy_types::endpoint::EndpointAuthScheme;
use aws_smithy_types::retry::{ReconnectMode, RetryConfig};

use super::credentials::Source;
use super::options::Settings;
use super::transport::Transport;
use crate::BoxError;

/// Where requests go.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// To Amazon, in the region.
    Amazon,
    /// To this address, the bucket being part of the path or of the host.
    Endpoint(&'a str),
    /// To this address, which is the bucket's.
    Bucket(&'a str),
}

impl<'a> Target<'a> {
    /// Where the bucket is.
    pub(super) fn bucket(settings: &'a Settings) -> Target<'a> {
        settings.endpoint.as_deref().map_or(Target::Amazon, Target::Endpoint)
    }

    /// Where clients are sent to. As in CNCF Distribution, the host takes the place of another: where that is the bucket's
    /// own, this one is too.
    pub(super) fn redirect(settings: &Settings, endpoint: &'a str) -> Target<'a> {
        if settings.path_style { Target::Endpoint(endpoint) } else { Target::Bucket(endpoint) }
    }
}

/// The clock that requests are signed by, which tests set wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) ahead: Duration,
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        SystemTime::now() + self.ahead
    }
}

/// The one address of a bucket, whatever is asked for.
#[derive(Debug)]
struct Fixed(Endpoint);

impl ResolveEndpoint for Fixed {
    fn resolve_endpoint<'a>(&'a self, _: &'a Params) -> EndpointFuture<'a> {
        EndpointFuture::ready(Ok(self.0.clone()))
    }
}

/// A client.
pub(super) fn client(
    target: Target<'_>,
    settings: &Settings,
    source: &Source,
    transport: Transport,
    clock: Clock,
) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(transport)
        .region(Region::new(settings.region.clone()))
        .credentials_provider(source.provider.clone())
        .identity_cache(source.cache.clone())
        .force_path_style(settings.path_style)
        .time_source(clock)
        .disable_clock_skew_correction(true)
        .retry_config(RetryConfig::disabled().with_reconnect_mode(ReconnectMode::ReuseAllConnections))
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    let config = match target {
        Target::Amazon => {
            let Settings { dual_stack, fips, accelerate, .. } = *settings;
            config.use_dual_stack(dual_stack).use_fips(fips).accelerate(accelerate)
        }
        Target::Endpoint(address) => config.endpoint_url(address),
        Target::Bucket(address) => {
            // What Amazon's own addresses come with: names are signed as they are sent.
            let signing = EndpointAuthScheme::with_capacity("sigv4", 3)
                .put("disableDoubleEncoding", true)
                .put("signingName", "s3")
                .put("signingRegion", settings.region.clone());
            config.endpoint_resolver(Fixed(Endpoint::builder().url(address.to_owned()).auth_scheme(signing).build()))
        }
    };
    Client::from_conf(config.build())
}

/// Whether there is an address for the bucket, with what is asked of it: found out by signing one, which nobody is told.
pub(super) async fn resolve(client: &Client, bucket: &str) -> Result<(), BoxError> {
    let config = PresigningConfig::expires_in(Duration::from_secs(1))?;
    client.get_object().bucket(bucket).key("key").presigned(config).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::S3Options;
    use crate::http::Http;

    #[tokio::test]
    async fn an_address_is_signed_alike_whichever_way_it_is_found() {
        let options =
            S3Options { bucket: "images".into(), endpoint: Some("http://host".into()), ..S3Options::default() };
        let settings = Settings::read(&options).unwrap();
        let http = Http::new(&options.trust).unwrap();
        let signed = async |target| {
            let transport = Transport::new(http.clone(), None, false);
            let client = client(target, &settings, &Source::nobody(), transport, Clock { ahead: Duration::ZERO });
            let config =
                PresigningConfig::builder().start_time(SystemTime::UNIX_EPOCH).expires_in(Duration::from_secs(9));
            let request = client.get_object().bucket("images").key("a+b %/ä~'");
            request.presigned(config.build().unwrap()).await.unwrap().uri().to_owned()
        };
        // The bucket is in the path of both, once by the SDK's rules and once by the address.
        let by_rules = signed(Target::Endpoint("http://host")).await;
        assert_eq!(signed(Target::Bucket("http://host/images")).await, by_rules);
        assert!(by_rules.starts_with("http://host/images/a%2Bb%20%25/%C3%A4~%27?"), "{by_rules}");
    }
}
