//! Several servers on one store, without a word between them.

use berth_oci::Digest;
use bytes::Bytes;

use crate::support::{Client, config, filesystem};

/// No `http.secret` is set: whoever starts first leaves one in the store. Without that, one server would refuse the
/// addresses that the other gives out.
#[tokio::test]
async fn an_upload_goes_on_at_whichever_server_the_client_meets() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(filesystem(directory.path()));
    assert!(config.http.secret.is_none());
    // Both start at once: one of them makes the secret, and both have it.
    let (first, second) = tokio::join!(berth_registry::start(&config), berth_registry::start(&config));
    let servers = [first.unwrap(), second.unwrap()];
    let mut clients = Vec::new();
    for server in &servers {
        clients.push(Client::connect(server.address()).await);
    }
    let path = |location: &str| {
        let (_, rest) = location.split_once("/v2/").unwrap();
        format!("/v2/{rest}")
    };
    let mut location =
        clients[0].post("/v2/a/blobs/uploads/", Bytes::new()).await.expect(202).header("location").to_owned();
    let mut content = Vec::new();
    for number in 0..6_u8 {
        let chunk = vec![number; 10_000];
        let client = &mut clients[usize::from(number + 1) % 2];
        location = client.patch(&path(&location), &[], chunk.clone()).await.expect(202).header("location").to_owned();
        content.extend(chunk);
    }
    let digest = Digest::sha256(&content);
    clients[1].put(&format!("{}&digest={digest}", path(&location)), &[], Bytes::new()).await.expect(201);
    for client in &mut clients {
        assert_eq!(client.get(&format!("/v2/a/blobs/{digest}")).await.expect(200).body, content);
    }
    drop(clients);
    for server in servers {
        server.stop().await;
    }
}
