//! Listings: only what is known to be whole is one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use berth_storage::StoreError;
use berth_storage::bucket::{Bucket, Listed, Listing, Start};
use berth_storage::layers::{RetryOptions, StackOptions, stack};

use crate::key;
use crate::server::{Asked, Server, answer, refusal, unframed};

#[tokio::test]
async fn a_listing_asks_for_names_that_survive() {
    let server = Server::start(|_, _| {
        answer(
            200,
            &[],
            "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
             <NextContinuationToken>1/+=</NextContinuationToken><Contents><Key>a/b+c%2Bd</Key><Size>3</Size>\
             <LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents></ListBucketResult>",
        )
    })
    .await;
    let bucket = server.bucket(|_| ()).await;
    let below = key("a");
    let listing = |start| Listing { below: &below, one_level: true, start, limit: 5000 };
    let listed = bucket.list(listing(Start::Behind("a b"))).await.unwrap();
    assert_eq!(listed.objects[0].0, "a/b c+d");
    let next = listed.next.unwrap();
    bucket.list(listing(Start::Page(&next))).await.unwrap();
    let asked = server.asked();
    let query = |asked: &Asked| asked.what.split_once('?').unwrap().1.to_owned();
    assert_eq!(
        query(&asked[0]),
        "list-type=2&delimiter=%2F&encoding-type=url&max-keys=1000&prefix=a%2F&start-after=a%2Fa%20b"
    );
    assert_eq!(
        query(&asked[1]),
        "list-type=2&delimiter=%2F&encoding-type=url&max-keys=1000&prefix=a%2F&continuation-token=1%2F%2B%3D"
    );
}

fn document(content: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<ListBucketResult><Contents><Key>a/b</Key></Contents>{content}</ListBucketResult>"
    )
}

async fn list(bucket: &dyn Bucket, start: Start<'_>) -> Result<Listed, StoreError> {
    bucket.list(Listing { below: &key("a"), one_level: false, start, limit: 10 }).await
}

#[tokio::test]
async fn a_page_that_does_not_say_where_the_listing_goes_on_is_not_the_last() {
    for (content, expected) in [
        ("<IsTruncated>false</IsTruncated>", None),
        ("<IsTruncated>true</IsTruncated>", Some("goes on, but does not say where")),
        (
            "<IsTruncated>true</IsTruncated><NextContinuationToken></NextContinuationToken>",
            Some("goes on, but does not say where"),
        ),
        ("", Some("does not say whether it goes on")),
    ] {
        let server = Server::start(move |_, _| answer(200, &[], document(content))).await;
        let outcome = list(&server.bucket(|_| ()).await, Start::First).await;
        match expected {
            None => assert_eq!(outcome.unwrap().next, None),
            Some(expected) => {
                let error = outcome.unwrap_err();
                assert!(error.is_transient() && error.to_string().ends_with(expected), "{content}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_page_that_leads_to_itself_is_an_error() {
    let content = "<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken>";
    let server = Server::start(move |_, _| answer(200, &[], document(content))).await;
    let retry = RetryOptions { max_tries: 2, first_wait: Duration::from_millis(1), ..RetryOptions::default() };
    let options = StackOptions { retry, ..StackOptions::default() };
    let bucket = stack(Arc::new(server.bucket(|_| ()).await), &options, Arc::new(()));
    for start in [Start::First, Start::Behind("a")] {
        let next = list(bucket.as_ref(), start).await.unwrap().next.unwrap();
        let error = list(bucket.as_ref(), Start::Page(&next)).await.unwrap_err();
        assert!(error.to_string().ends_with("a page of the listing leads to itself"), "{error}");
    }
}

#[tokio::test]
async fn a_document_that_breaks_off_is_no_short_listing() {
    let whole = document("<IsTruncated>false</IsTruncated>");
    let options = |address: String| move |options: &mut berth_storage::S3Options| options.endpoint = Some(address);
    let nobody = Server::start(|_, _| answer(500, &[], "")).await;
    let bucket = nobody.bucket(options(unframed(whole.clone()).await)).await;
    assert_eq!(list(&bucket, Start::First).await.unwrap().objects.len(), 1, "it need not say how long it is");
    let cut = whole.strip_suffix("</ListBucketResult>").unwrap();
    let bucket = nobody.bucket(options(unframed(cut.to_owned()).await)).await;
    let error = list(&bucket, Start::First).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().ends_with("the answer breaks off"), "{error}");
}

#[tokio::test]
async fn a_page_of_uploads_that_leads_to_itself_is_the_last() {
    let page = "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>a</NextKeyMarker>\
        <NextUploadIdMarker>1</NextUploadIdMarker></ListMultipartUploadsResult>";
    let server = Server::start(move |_, _| answer(200, &[], page)).await;
    let bucket = server.bucket(|_| ()).await;
    let below = key("docker");
    let looked = bucket.remove_leftovers(&below, SystemTime::now());
    let looked = tokio::time::timeout(Duration::from_secs(60), looked).await;
    assert_eq!(looked.expect("it comes to an end").unwrap(), 0);
    let asked = server.asked();
    assert_eq!(asked.iter().filter(|one| one.what.contains("key-marker=a")).count(), 1, "{asked:?}");
}

#[tokio::test]
async fn a_check_asks_for_no_more_than_what_lies_in_the_registry() {
    let server = Server::start(move |what, _| match what {
        what if what.starts_with("GET ") && what.contains("&prefix=of-us%2Fdocker%2Fregistry%2Fv2%2F") => {
            answer(200, &[], document("<IsTruncated>true</IsTruncated>"))
        }
        _ => refusal(403, "AccessDenied", "Only what begins with of-us/ is yours."),
    })
    .await;
    let bucket = server.bucket(|options| options.root_directory = "of-us".to_owned()).await;
    bucket.check().await.unwrap();
    assert_eq!(server.asked().len(), 1);
    let elsewhere = server.bucket(|options| options.root_directory = "of-others".to_owned()).await;
    let error = elsewhere.check().await.unwrap_err().to_string();
    let expected = "s3://images/of-others: cannot use the bucket: the server says: Only what begins with of-us/ is yours. \
                    (AccessDenied, status 403)";
    assert_eq!(error, expected);
    assert_eq!(server.asked().len(), 1);
}
