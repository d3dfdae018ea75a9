//! A bucket on a real server behind a proxy, and servers of the registry on it.

use berth_config::{Config, Driver, S3};
use berth_registry::Running;
use berth_storage::{S3 as Bucket, S3Credentials, S3Options};
use berth_stores::{Dialect, Programs, Proxy, Versitygw};

use crate::support::{Client, config};

/// A bucket, and what stands in front of it.
pub(crate) struct Bench {
    pub(crate) server: Versitygw,
    pub(crate) proxy: Proxy,
}

pub(crate) const BUCKET: &str = "images";

impl Bench {
    pub(crate) async fn start() -> Self {
        // Why a request failed stands in the log alone.
        let logging = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_test_writer();
        let _ = logging.try_init();
        let server = Versitygw::start(&Programs::from_env()).await.unwrap();
        server.create_bucket(BUCKET).unwrap();
        let proxy = Proxy::start(server.address, Dialect::S3).unwrap();
        // Asked every second, and not for a request.
        proxy.leave_out("/berth/v1/removed");
        Bench { server, proxy }
    }

    /// The store's settings, through the proxy.
    pub(crate) fn driver(&self) -> Driver {
        Driver::S3(Box::new(S3 {
            bucket: BUCKET.to_owned(),
            region: Some(self.server.region.clone()),
            regionendpoint: Some(self.proxy.endpoint()),
            accesskey: Some(self.server.access_key.clone()),
            secretkey: Some(berth_config::Secret::new(self.server.secret_key.clone())),
            ..S3::default()
        }))
    }

    /// The store's settings, of another server in front of the same bucket.
    pub(crate) fn driver_at(&self, server: &Versitygw) -> Driver {
        let Driver::S3(settings) = self.driver() else { unreachable!("it is one of S3") };
        Driver::S3(Box::new(S3 { regionendpoint: Some(server.endpoint.clone()), ..*settings }))
    }

    /// The bucket itself, without the proxy: for tests that look at what is there, or fill it.
    pub(crate) async fn bucket(&self) -> Bucket {
        let credentials = S3Credentials::Keys {
            access_key: self.server.access_key.clone(),
            secret_key: self.server.secret_key.clone(),
            session_token: None,
        };
        let options = S3Options {
            bucket: BUCKET.to_owned(),
            region: Some(self.server.region.clone()),
            endpoint: Some(self.server.endpoint.clone()),
            credentials,
            ..S3Options::default()
        };
        Bucket::open(options).await.unwrap()
    }

    /// A replica of the registry. Clients are not sent to the store, unless `change` says so.
    pub(crate) async fn replica(&self, change: impl FnOnce(&mut Config)) -> Running {
        let mut config = config(self.driver());
        config.storage.redirect.disable = true;
        change(&mut config);
        berth_registry::start(&config).await.unwrap()
    }

    pub(crate) async fn client(&self, replica: &Running) -> Client {
        Client::connect(replica.address()).await
    }
}
