//! What no emulator shows: copies that take their time, parts that the service copies, keys that it gives out.

use std::time::Duration;

use bytes::Bytes;

use super::fake::serve;
use super::*;
use crate::bucket::{Listing, Start};

const WRITTEN: &str = "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT";

fn options(endpoint: String) -> AzureOptions {
    AzureOptions {
        account_name: "acct".into(),
        account_key: Some("a2V5".into()),
        container: "box".into(),
        service_url: Some(endpoint),
        root_directory: "/".into(),
        ..AzureOptions::default()
    }
}

async fn open(endpoint: String) -> Azure {
    Azure::open(options(endpoint)).await.unwrap()
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_copy_that_takes_its_time_is_waited_for() {
    let pending = format!("200 OK\n{WRITTEN}\nContent-Length: 0\nx-ms-copy-id: 7\nx-ms-copy-status: pending");
    let done = format!("200 OK\n{WRITTEN}\nContent-Length: 5\nx-ms-copy-id: 7\nx-ms-copy-status: success");
    let begun = "202 Accepted\nx-ms-copy-id: 7\nx-ms-copy-status: pending";
    let (endpoint, asked) = serve(&[(begun, ""), (&pending, ""), (&done, "")]).await;
    open(endpoint.clone()).await.copy(&key("a b"), &key("c")).await.unwrap();
    assert_eq!(asked.lines(), ["PUT /box/c", "HEAD /box/c", "HEAD /box/c"]);
    assert_eq!(asked.header(0, "x-ms-copy-source"), Some(format!("{endpoint}/box/a%20b")));
}

#[tokio::test]
async fn a_copy_that_does_not_end_is_stopped() {
    let begun = "202 Accepted\nx-ms-copy-id: 7\nx-ms-copy-status: pending";
    let (endpoint, asked) = serve(&[(begun, ""), ("204 No Content", "")]).await;
    let azure = Azure { copy_patience: Duration::ZERO, ..open(endpoint).await };
    let error = azure.copy(&key("a"), &key("c")).await.unwrap_err();
    assert_eq!(error.to_string(), "a: cannot copy the object: the copy was not done after 0 seconds");
    assert!(error.is_transient());
    assert_eq!(asked.lines(), ["PUT /box/c", "PUT /box/c?comp=copy&copyid=7"]);
    assert_eq!(asked.header(1, "x-ms-copy-action").as_deref(), Some("abort"));
}

#[tokio::test]
async fn a_copy_that_fails_says_why() {
    let failed = format!(
        "200 OK\n{WRITTEN}\nContent-Length: 0\nx-ms-copy-status: failed\nx-ms-copy-status-description: 500 InternalError"
    );
    let begun = "202 Accepted\nx-ms-copy-id: 7\nx-ms-copy-status: pending";
    let (endpoint, _) = serve(&[(begun, ""), (&failed, "")]).await;
    let error = open(endpoint).await.copy(&key("a"), &key("c")).await.unwrap_err();
    let expected = "a: cannot copy the object: the server says: 500 InternalError (CopyFailed, status 500)";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn what_a_failed_copy_has_left_is_not_there() {
    let left = format!("200 OK\n{WRITTEN}\nContent-Length: 0\nx-ms-copy-status: failed");
    let (endpoint, _) = serve(&[(&left, ""), (&left, "")]).await;
    let azure = open(endpoint).await;
    assert!(azure.head(&key("a")).await.unwrap_err().is_not_found());
    assert!(azure.get(&key("a"), None).await.map(drop).unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_part_is_copied_by_the_service_with_an_address_that_lets_it() {
    let missing = ("404 Not Found\nx-ms-error-code: BlobNotFound", "");
    let (endpoint, asked) = serve(&[missing, ("201 Created", ""), ("201 Created", "")]).await;
    let azure = open(endpoint.clone()).await;
    let (from, to) = (key("from"), key("to"));
    let assembly = azure.begin_parts(&to).await.unwrap();
    let part = azure.copy_part(&to, &assembly, 1, &from, 5, None).await.unwrap();
    azure.complete_parts(&to, &assembly, vec![part.clone()], 5).await.unwrap();
    let block = client::encode(&part.0, client::QUERY);
    let expected = [
        "HEAD /box/to".to_owned(),
        format!("PUT /box/to?comp=block&blockid={block}"),
        "PUT /box/to?comp=blocklist".into(),
    ];
    assert_eq!(asked.lines(), expected);
    let source = asked.header(1, "x-ms-copy-source").unwrap();
    let (address, query) = source.split_once('?').unwrap();
    assert_eq!(address, format!("{endpoint}/box/from"));
    assert!(query.starts_with("sv=2023-11-03&se=") && query.contains("&sr=b&sp=r&sig="), "{query}");
    assert!(asked.body(2).contains(&format!("<Latest>{}</Latest>", part.0)));
}

#[tokio::test]
async fn of_what_is_larger_than_a_block_a_range_is_copied() {
    let (endpoint, asked) = serve(&[("201 Created", ""), ("201 Created", "")]).await;
    let azure = open(endpoint).await;
    let (from, to, assembly) = (key("from"), key("to"), Assembly(uuid::Uuid::nil().simple().to_string()));
    let range = ByteRange { start: 4 << 30, end: 5 << 30 };
    azure.copy_part(&to, &assembly, 2, &from, 5 << 30, Some(range)).await.unwrap();
    azure.copy_part(&to, &assembly, 3, &from, 5, None).await.unwrap();
    assert_eq!(asked.header(0, "x-ms-source-range").as_deref(), Some("bytes=4294967296-5368709119"));
    assert_eq!(asked.header(1, "x-ms-source-range"), None);
}

#[tokio::test]
async fn a_list_that_comes_too_late_counts_where_the_object_is_there() {
    let refused = ("400 Bad Request\nx-ms-error-code: InvalidBlockList", "");
    let there = |bytes: u64| format!("200 OK\n{WRITTEN}\nContent-Length: {bytes}");
    let (right, wrong) = (there(5), there(6));
    let (endpoint, _) = serve(&[refused, (&right, ""), refused, (&wrong, "")]).await;
    let azure = open(endpoint).await;
    let assembly = Assembly(uuid::Uuid::nil().simple().to_string());
    let to = key("to");
    let complete = || azure.complete_parts(&to, &assembly, vec![PartTag("x".into())], 5);
    let (first, second) = (complete().await, complete().await);
    first.unwrap();
    let error = second.unwrap_err().to_string();
    assert_eq!(error, "to: cannot make an object of its parts: the server says: InvalidBlockList (status 400)");
}

#[tokio::test]
async fn new_credentials_are_looked_for_when_the_old_ones_are_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("accountkey");
    std::fs::write(&path, "b2xk").unwrap();
    let refused = ("403 Forbidden\nx-ms-error-code: AuthenticationFailed", "");
    let (endpoint, asked) = serve(&[("201 Created", ""), refused, ("201 Created", ""), refused]).await;
    let credentials_directory = Some(directory.path().to_owned());
    let options = AzureOptions { credentials_directory, account_key: None, ..options(endpoint) };
    let mut azure = Azure::open(options).await.unwrap();
    azure.client.credentials.interval = Duration::MAX;
    let at = key("a");
    let write = || azure.put(&at, Bytes::from_static(b"x"));
    write().await.unwrap();
    std::fs::write(&path, "bmV3").unwrap();
    write().await.unwrap();
    assert_eq!(asked.lines(), ["PUT /box/a", "PUT /box/a", "PUT /box/a"]);
    // The same credentials are not tried twice.
    write().await.unwrap_err();
    assert_eq!(asked.lines().len(), 4);
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_said_beside_the_refusal() {
    let refused = "403 Forbidden\nDate: Wed, 21 Oct 2015 07:28:00 GMT\nx-ms-error-code: AuthenticationFailed";
    let (endpoint, _) = serve(&[(refused, "")]).await;
    let error = open(endpoint).await.put(&key("a"), Bytes::new()).await.unwrap_err().to_string();
    assert!(
        error.contains("the clock of this machine is") && error.contains(" hours ahead of the server's"),
        "{error}"
    );
}

#[tokio::test]
async fn a_listing_goes_on_from_page_to_page_behind_a_name() {
    let page = |name: &str, next: &str| {
        format!(
            "<EnumerationResults><Blobs><Blob><Name>{name}</Name><Properties><Last-Modified>Wed, 21 Oct 2015 07:28:00 \
             GMT</Last-Modified><Content-Length>1</Content-Length></Properties></Blob></Blobs><NextMarker>{next}\
             </NextMarker></EnumerationResults>"
        )
    };
    let (first, second) = (page("r/a", "mark 1"), page("r/c", ""));
    let (endpoint, asked) = serve(&[("200 OK", &first), ("200 OK", &second)]).await;
    let azure = open(endpoint).await;
    let below = key("r");
    let listing = |start| Listing { below: &below, one_level: true, start, limit: 1 };
    let listed = azure.list(listing(Start::Behind("b"))).await.unwrap();
    assert_eq!(listed.objects, []);
    let listed = azure.list(listing(Start::Page(&listed.next.unwrap()))).await.unwrap();
    assert_eq!(listed.objects[0].0, "r/c");
    let base = "GET /box?restype=container&comp=list&prefix=r%2F&maxresults=1&include=copy&delimiter=%2F";
    assert_eq!(asked.lines(), [base.to_owned(), format!("{base}&marker=mark%201")]);
}

/// Asks for a token, which is there: what was asked.
async fn token(proof: impl FnOnce(&str) -> access::Proof, answer: &str) -> (String, fake::Asked) {
    let (address, asked) = serve(&[("200 OK", answer)]).await;
    let plan = access::Entra { authority: address.clone(), proof: proof(&address) };
    let tokens = entra::tokens(&plan, "acct", "box", Http::new(&crate::Trust::default()).unwrap()).unwrap();
    for _ in 0..2 {
        match tokens.get_credential().await.unwrap().as_ref() {
            object_store::azure::AzureCredential::BearerToken(token) => assert_eq!(token, "TOKEN"),
            _ => unreachable!("tokens are all it gives"),
        }
    }
    (asked.lines().remove(0), asked)
}

#[tokio::test]
async fn workload_identity_shows_the_token_in_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "token-of-the-cluster").unwrap();
    let file = file.display().to_string();
    let proof = |_: &str| access::Proof::Workload { tenant: "t".into(), client: "c".into(), file };
    let (line, asked) = token(proof, r#"{"access_token":"TOKEN","expires_in":3600}"#).await;
    assert_eq!(line, "POST /t/oauth2/v2.0/token");
    let body = asked.body(0);
    for field in
        ["client_id=c", "client_assertion=token-of-the-cluster", "scope=https%3A%2F%2Fstorage.azure.com%2F.default"]
    {
        assert!(body.contains(field), "{body}");
    }
}

#[tokio::test]
async fn a_managed_identity_is_asked_at_its_address() {
    let proof =
        |address: &str| access::Proof::Managed { client: Some("c".into()), address: Some(format!("{address}/msi")) };
    let (line, asked) = token(proof, r#"{"access_token":"TOKEN","expires_on":"4102444800"}"#).await;
    assert!(line.starts_with("GET /msi?") && line.contains("client_id=c"), "{line}");
    assert_eq!(asked.header(0, "metadata").as_deref(), Some("true"));
}

#[tokio::test]
async fn that_there_is_no_token_is_said_in_the_authority_s_words() {
    let text = |text: &str| Some(text.to_owned());
    let login = AzureLogin::ClientSecret { tenant_id: text("t"), client_id: text("c"), secret: text("s3cr3t") };
    let refused =
        ("401 Unauthorized", r#"{"error":"invalid_client","error_description":"No such secret.\r\nTrace: 1"}"#);
    let (authority, _) = serve(&[refused]).await;
    let entra = AzureOptions { login: Some(login), authority: Some(authority.clone()), ..AzureOptions::default() };
    let AzureOptions { account_name, container, service_url, .. } = options("https://127.0.0.1:1".into());
    let settings = AzureOptions { account_name, container, service_url, ..entra };
    let error = Azure::open(settings.clone()).await.unwrap().check().await.unwrap_err();
    let expected =
        format!("{authority}: cannot get a token: the server says: No such secret. (invalid_client, status 401)");
    assert_eq!(error.to_string(), expected);
    // Nobody is there any more.
    let error = Azure::open(settings).await.unwrap().check().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("refused") && !format!("{error:?}").contains("s3cr3t"), "{error:?}");
}

#[tokio::test]
async fn a_file_of_workload_identity_that_is_missing_is_named() {
    let proof = access::Proof::Workload { tenant: "t".into(), client: "c".into(), file: "/nowhere/token".into() };
    let plan = access::Entra { authority: "http://127.0.0.1:1".into(), proof };
    let tokens = entra::tokens(&plan, "acct", "box", Http::new(&crate::Trust::default()).unwrap()).unwrap();
    let error = entra::refused(&plan, &tokens.get_credential().await.unwrap_err());
    assert_eq!(error.to_string(), "/nowhere/token: No such file or directory (os error 2)");
}

const DELEGATED: &str = "<UserDelegationKey><SignedOid>o</SignedOid><SignedTid>t</SignedTid>\
    <SignedStart>2020-01-01T00:00:00Z</SignedStart><SignedExpiry>2100-01-01T00:00:00Z</SignedExpiry>\
    <SignedService>b</SignedService><SignedVersion>2023-11-03</SignedVersion><Value>a2V5</Value></UserDelegationKey>";

/// Makes a driver one that gets tokens, at `authority`, for a service that is reached without TLS.
fn with_tokens(azure: &mut Azure, authority: &str) {
    let proof = access::Proof::Secret { tenant: "t".into(), client: "c".into(), secret: "s".into() };
    let plan = access::Entra { authority: authority.to_owned(), proof };
    azure.client.credentials.become_for_tests(plan);
}

const TOKEN: (&str, &str) = ("200 OK", r#"{"access_token":"TOKEN","expires_in":3600}"#);

#[tokio::test]
async fn that_there_is_no_key_to_sign_with_is_remembered() {
    let denied = ("403 Forbidden\nx-ms-error-code: AuthorizationPermissionMismatch", "");
    let (authority, _) = serve(&[TOKEN]).await;
    let (endpoint, asked) = serve(&[denied, ("200 OK", DELEGATED)]).await;
    let mut azure = open(endpoint).await;
    with_tokens(&mut azure, &authority);
    for _ in 0..3 {
        assert_eq!(azure.presign(&key("a"), Duration::from_secs(60)).await.unwrap(), None);
    }
    assert_eq!(asked.lines(), ["POST /?restype=service&comp=userdelegationkey"]);
}

#[tokio::test]
async fn nobody_waits_for_the_key_that_another_asks_for() {
    let window = Window::of(jiff::Timestamp::now(), Duration::from_secs(60));
    let delegation = sas::Delegation::default();
    let (come, wait) = tokio::sync::oneshot::channel();
    let asking = delegation.key(window, |_| async {
        wait.await.unwrap();
        Ok(answer::xml(DELEGATED.as_bytes()).unwrap())
    });
    let mut asking = std::pin::pin!(asking);
    assert!(futures::poll!(asking.as_mut()).is_pending());
    let never = |_| async { unreachable!("one asks already") };
    assert!(delegation.key(window, never).await.is_none());
    come.send(()).unwrap();
    assert!(asking.await.is_some());
    assert!(delegation.key(window, never).await.is_some(), "the key is kept");
}

#[tokio::test]
async fn a_token_that_is_not_believed_is_replaced_and_the_request_sent_again() {
    let second = ("200 OK", r#"{"access_token":"SECOND","expires_in":3600}"#);
    let refused = ("401 Unauthorized\nx-ms-error-code: InvalidAuthenticationInfo", "");
    let (authority, _) = serve(&[TOKEN, second]).await;
    let (endpoint, asked) = serve(&[refused, ("201 Created", ""), refused]).await;
    let mut azure = open(endpoint).await;
    with_tokens(&mut azure, &authority);
    azure.put(&key("a"), Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(asked.header(0, "authorization").as_deref(), Some("Bearer TOKEN"));
    assert_eq!(asked.header(1, "authorization").as_deref(), Some("Bearer SECOND"));
    // One after the other is not believed: another token does not help.
    azure.put(&key("a"), Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(asked.lines().len(), 3);
}
