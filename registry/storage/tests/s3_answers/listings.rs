//! Listings.

use std::time::{Duration, SystemTime};

use berth_storage::bucket::{Bucket, Listing, Start};

use crate::key;
use crate::server::{Asked, Server, answer};

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
