//! What Docker's clients are used to, beyond the OCI specification, over a socket, on every store.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../support/mod.rs"]
mod support;

mod paths;
mod ranges;
mod rules;
mod schema1;
mod stored;
mod uploads;
mod wire;

use bytes::Bytes;
use http::Method;

use support::{Answer, Client, Server};

/// Runs a test on both stores.
async fn on_both(change: impl Fn(&mut berth_config::Config), test: impl AsyncFn(&Server, Client)) {
    for in_memory in [true, false] {
        let server = Server::start(in_memory, &change).await;
        let client = server.client().await;
        test(&server, client).await;
        server.running.stop().await;
    }
}

async fn ask(client: &mut Client, method: Method, target: &str, headers: &[(&str, &str)]) -> Answer {
    client.send(method, target, headers, Bytes::new()).await
}
