//! Several ranges of a blob, and ranges of other content.

use bytes::Bytes;
use http::Method;

use crate::support::Answer;
use crate::{ask, on_both};

/// The parts of a `multipart/byteranges` answer: what each says it is, and its content.
fn parts_of(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let content_type = answer.header("content-type");
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").expect(content_type);
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    assert_eq!(answer.header("content-range"), "", "what has several parts has no range of its own");
    let find = |text: &[u8], from: usize| {
        let found = answer.body[from..].windows(text.len()).position(|window| window == text);
        from + found.expect("the answer ends early")
    };
    let (mut parts, mut at) = (Vec::new(), 0);
    let delimiter = format!("--{boundary}");
    assert!(answer.body.starts_with(delimiter.as_bytes()));
    loop {
        at += delimiter.len();
        if &answer.body[at..] == b"--\r\n" {
            return parts;
        }
        let end_of_head = find(b"\r\n\r\n", at);
        let head = std::str::from_utf8(&answer.body[at..end_of_head]).unwrap();
        let (range, media_type) = head.trim().split_once("\r\n").unwrap();
        assert_eq!(media_type, "Content-Type: application/octet-stream");
        let end = find(format!("\r\n{delimiter}").as_bytes(), end_of_head + 4);
        let range = range.strip_prefix("Content-Range: bytes ").unwrap();
        parts.push((range.to_owned(), answer.body[end_of_head + 4..end].to_vec()));
        at = end + 2;
    }
}

#[tokio::test]
async fn several_parts_of_a_blob_come_in_one_answer() {
    on_both(
        |_| (),
        async |_, mut client| {
            let content: Bytes = (0..700_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
            let digest = client.push_blob("team/app", content.clone()).await;
            let target = format!("/v2/team/app/blobs/{digest}");
            for (range, expected) in [
                ("bytes=0-0,5-9", &["0-0/700000", "5-9/700000"][..]),
                ("bytes=-3,0-300000", &["699997-699999/700000", "0-300000/700000"]),
                ("bytes=1-4,3-6,900000-", &["1-4/700000", "3-6/700000"]),
                ("bytes=699999-,0-0", &["699999-699999/700000", "0-0/700000"]),
            ] {
                let answer = ask(&mut client, Method::GET, &target, &[("range", range)]).await.expect(206);
                assert_eq!(answer.header("docker-content-digest"), digest.as_str());
                assert_eq!(answer.header("accept-ranges"), "bytes");
                let parts = parts_of(&answer);
                assert_eq!(parts.iter().map(|(range, _)| range.as_str()).collect::<Vec<_>>(), expected, "{range}");
                for (range, part) in parts {
                    let (start, end) = range.split('/').next().unwrap().split_once('-').unwrap();
                    assert!(part == content[start.parse().unwrap()..=end.parse().unwrap()], "{range}");
                }
            }
            // Only one of them is there, so it is an answer of one part.
            let one = ask(&mut client, Method::GET, &target, &[("range", "bytes=0-1,700000-")]).await.expect(206);
            assert_eq!((one.header("content-range"), &one.body[..]), ("bytes 0-1/700000", &content[..2]));
            for range in ["bytes=700000-,-0", "bytes=0-1,x"] {
                let answer = ask(&mut client, Method::GET, &target, &[("range", range)]).await;
                assert_eq!(answer.codes(), "416 RANGE_INVALID", "{range}");
                assert_eq!(answer.header("content-range"), "bytes */700000");
            }
            let many = format!("bytes={}", vec!["0-0"; 129].join(","));
            for range in ["bytes=0-,1-", many.as_str()] {
                assert!(ask(&mut client, Method::GET, &target, &[("range", range)]).await.expect(200).body == content);
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_range_of_other_content_is_not_given() {
    on_both(
        |_| (),
        async |_, mut client| {
            let digest = client.push_blob("a", "0123456789").await;
            let target = format!("/v2/a/blobs/{digest}");
            let etag = format!("\"{digest}\"");
            for (condition, status) in [
                (etag.clone(), 206),
                (format!("W/{etag}"), 200),
                (digest.to_string(), 200),
                ("\"other\"".to_owned(), 200),
                ("Sat, 21 Nov 2026 15:01:25 GMT".to_owned(), 200),
            ] {
                for range in ["bytes=2-3", "bytes=2-3,5-5"] {
                    let headers = [("range", range), ("if-range", condition.as_str())];
                    ask(&mut client, Method::GET, &target, &headers).await.expect(status);
                }
            }
            // A range is a question of GET alone (RFC 9110, 14.2).
            let head = ask(&mut client, Method::HEAD, &target, &[("range", "bytes=2-3")]).await.expect(200);
            assert_eq!(head.header("content-length"), "10");
        },
    )
    .await;
}
