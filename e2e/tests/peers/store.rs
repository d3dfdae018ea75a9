//! An object store with a bucket: versitygw, behind a proxy that counts what it is asked.

use anyhow::Result;
use berth_e2e::peer::Bucket;
use berth_stores::{Dialect, Programs, Proxy, Versitygw};

const BUCKET: &str = "images";

/// A running store with an empty bucket.
pub(crate) struct Store {
    server: Versitygw,
    pub(crate) proxy: Proxy,
}

impl Store {
    pub(crate) async fn start() -> Result<Self> {
        let server = Versitygw::start(&Programs::from_env()).await?;
        server.create_bucket(BUCKET)?;
        let proxy = Proxy::start(server.address, Dialect::S3)?;
        // What Berth asks every second, whatever it is asked.
        proxy.leave_out("/berth/v1/removed");
        Ok(Self { server, proxy })
    }

    /// The bucket, by way of the proxy.
    pub(crate) fn bucket(&self) -> Bucket {
        Bucket {
            name: BUCKET.to_owned(),
            endpoint: self.proxy.endpoint(),
            region: self.server.region.clone(),
            access_key: self.server.access_key.clone(),
            secret_key: self.server.secret_key.clone(),
        }
    }
}
