//! Objects that are written in parts.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use berth_storage::ByteRange;
use berth_storage::bucket::{Assembly, Bucket, Listing, PartTag, Start};
use bytes::{Bytes, BytesMut};

use super::{content, is_not_found, read};
use crate::subject::{Subject, Verdict, key};

/// The contents of parts that the store takes: all as small as it allows, and the last smaller.
fn contents(bucket: &dyn Bucket, count: usize) -> Vec<Bytes> {
    let least = bucket.limits().min_part_bytes.max(1000) as usize;
    (1..=count).map(|number| content(number, if number == count { 777 } else { least + number })).collect()
}

fn whole(parts: &[Bytes]) -> Bytes {
    let mut content = BytesMut::new();
    parts.iter().for_each(|part| content.extend_from_slice(part));
    content.freeze()
}

async fn is_listed(bucket: &dyn Bucket, at: &str) -> bool {
    let (below, name) = at.rsplit_once('/').unwrap();
    let below = key(below);
    let listed =
        bucket.list(Listing { below: &below, one_level: false, start: Start::First, limit: 10 }).await.unwrap();
    listed.objects.iter().any(|(listed, _)| listed.ends_with(name))
}

pub(super) async fn parts_at_once_and_out_of_order(subject: Arc<Subject>) -> Verdict {
    let bucket = &subject.bucket;
    let at = key("parts/at-once");
    let parts = contents(bucket.as_ref(), 4);
    let assembly = bucket.begin_parts(&at).await.unwrap();
    assert!(is_not_found(bucket.head(&at).await));
    let mut tags: Vec<Option<PartTag>> = vec![None; parts.len()];
    // The last first, and the others at once.
    let last = parts.len();
    tags[last - 1] = Some(bucket.put_part(&at, &assembly, last, parts[last - 1].clone()).await.unwrap());
    let puts = (1..last).rev().map(|number| {
        let (bucket, at, assembly) = (bucket.clone(), at.clone(), assembly.clone());
        let part = parts[number - 1].clone();
        tokio::spawn(async move { (number, bucket.put_part(&at, &assembly, number, part).await.unwrap()) })
    });
    for put in futures::future::join_all(puts).await {
        let (number, tag) = put.unwrap();
        tags[number - 1] = Some(tag);
    }
    assert!(is_not_found(bucket.head(&at).await), "nothing is seen of what is not complete");
    assert!(!is_listed(bucket.as_ref(), at.as_str()).await);
    let expected = whole(&parts);
    let tags = tags.into_iter().map(Option::unwrap).collect();
    bucket.complete_parts(&at, &assembly, tags, expected.len() as u64).await.unwrap();
    assert!(read(bucket.as_ref(), &at).await == expected);
    assert_eq!(bucket.head(&at).await.unwrap().size, expected.len() as u64);
    Verdict::Passed
}

pub(super) async fn parts_from_another_process(subject: Arc<Subject>) -> Verdict {
    let (first, second) = (subject.bucket.as_ref(), subject.other.as_ref());
    let at = key("parts/resumed");
    let parts = contents(first, 3);
    let begun = first.begin_parts(&at).await.unwrap();
    let mut tags = vec![first.put_part(&at, &begun, 1, parts[0].clone()).await.unwrap()];
    // All that a process hands to the next is text.
    let (assembly, tag) = (Assembly(begun.0.clone()), PartTag(tags.remove(0).0));
    let tags = vec![
        tag,
        second.put_part(&at, &assembly, 2, parts[1].clone()).await.unwrap(),
        second.put_part(&at, &assembly, 3, parts[2].clone()).await.unwrap(),
    ];
    let expected = whole(&parts);
    second.complete_parts(&at, &assembly, tags, expected.len() as u64).await.unwrap();
    assert!(read(first, &at).await == expected);
    Verdict::Passed
}

pub(super) async fn completed_parts_replace(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let at = key("parts/replaced");
    bucket.put(&at, Bytes::from_static(b"before")).await.unwrap();
    for parts in [contents(bucket, 2), contents(bucket, 1)] {
        let before = read(bucket, &at).await;
        let assembly = bucket.begin_parts(&at).await.unwrap();
        let mut tags = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            tags.push(bucket.put_part(&at, &assembly, index + 1, part.clone()).await.unwrap());
        }
        assert!(read(bucket, &at).await == before, "what is there stays until the parts are complete");
        let expected = whole(&parts);
        bucket.complete_parts(&at, &assembly, tags, expected.len() as u64).await.unwrap();
        assert!(read(bucket, &at).await == expected);
    }
    // Parts of nothing are an empty object.
    let assembly = bucket.begin_parts(&at).await.unwrap();
    bucket.complete_parts(&at, &assembly, Vec::new(), 0).await.unwrap();
    assert_eq!(read(bucket, &at).await, "");
    Verdict::Passed
}

pub(super) async fn aborted_parts_leave_nothing(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let at = key("parts-aborted/object");
    for written in 0..2 {
        let assembly = bucket.begin_parts(&at).await.unwrap();
        for number in 1..=written {
            bucket.put_part(&at, &assembly, number, contents(bucket, 2)[0].clone()).await.unwrap();
        }
        bucket.abort_parts(&at, &assembly).await.unwrap();
        bucket.abort_parts(&at, &assembly).await.unwrap();
        assert!(is_not_found(bucket.head(&at).await));
        assert!(!is_listed(bucket, at.as_str()).await);
    }
    Verdict::Passed
}

pub(super) async fn parts_are_tried_again(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    let at = key("parts/again");
    let parts = contents(bucket, 2);
    let assembly = bucket.begin_parts(&at).await.unwrap();
    let mut tags = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        bucket.put_part(&at, &assembly, index + 1, part.clone()).await.unwrap();
        tags.push(bucket.put_part(&at, &assembly, index + 1, part.clone()).await.unwrap());
    }
    let expected = whole(&parts);
    bucket.complete_parts(&at, &assembly, tags.clone(), expected.len() as u64).await.unwrap();
    // An answer that was lost: the parts are an object already.
    bucket.complete_parts(&at, &assembly, tags, expected.len() as u64).await.unwrap();
    assert!(read(bucket, &at).await == expected);
    Verdict::Passed
}

pub(super) async fn a_part_from_another_object(subject: Arc<Subject>) -> Verdict {
    let bucket = subject.bucket.as_ref();
    if !bucket.abilities().copies_parts {
        return Verdict::Skipped("the store makes no part out of another object, and its driver says so".to_owned());
    }
    let (at, from) = (key("parts/copied"), key("parts/copied from +%41"));
    let parts = contents(bucket, 3);
    bucket.put(&from, parts[0].clone()).await.unwrap();
    let assembly = bucket.begin_parts(&at).await.unwrap();
    let size = parts[0].len() as u64;
    let mut tags = vec![
        bucket.copy_part(&at, &assembly, 1, &from, size, None).await.unwrap(),
        bucket.put_part(&at, &assembly, 2, parts[1].clone()).await.unwrap(),
        bucket.put_part(&at, &assembly, 3, parts[1].clone()).await.unwrap(),
    ];
    let mut expected = [&parts[0][..], &parts[1], &parts[1]].concat();
    // What the store copies whatever its size is never asked for in ranges.
    if bucket.limits().max_copy_bytes < u64::MAX {
        let range = Some(ByteRange { start: 100, end: 600 });
        tags.push(bucket.copy_part(&at, &assembly, 4, &from, size, range).await.unwrap());
        expected.extend_from_slice(&parts[0][100..600]);
    }
    bucket.complete_parts(&at, &assembly, tags, expected.len() as u64).await.unwrap();
    // What the part was made of is not needed any more.
    bucket.delete(&from).await.unwrap();
    assert!(read(bucket, &at).await == expected);
    Verdict::Passed
}

pub(super) async fn unfinished_parts_are_adopted(subject: Arc<Subject>) -> Verdict {
    let (bucket, other) = (subject.bucket.as_ref(), subject.other.as_ref());
    let (at, near) = (key("adopted/data"), key("adopted/data-of-another"));
    let parts = contents(bucket, 3);
    assert!(other.adopt_parts(&at).await.unwrap().is_none(), "nothing was begun");

    // As CNCF Distribution leaves an upload: parts that no request has completed.
    let assembly = bucket.begin_parts(&at).await.unwrap();
    let beside = bucket.begin_parts(&near).await.unwrap();
    for (index, part) in parts.iter().enumerate() {
        bucket.put_part(&at, &assembly, index + 1, part.clone()).await.unwrap();
    }
    let expected = whole(&parts);
    match other.adopt_parts(&at).await.unwrap() {
        Some(stat) => assert_eq!(stat.size, expected.len() as u64),
        None => return Verdict::Skipped("the driver does not know what others leave on this store".to_owned()),
    }
    assert!(read(bucket, &at).await == expected);
    assert!(other.adopt_parts(&at).await.unwrap().is_none(), "it is an object now");

    // A new assembly without parts, beside an object that holds all there is: it stopped in the middle of a request.
    bucket.begin_parts(&at).await.unwrap();
    assert_eq!(other.adopt_parts(&at).await.unwrap().unwrap().size, expected.len() as u64);
    assert!(read(bucket, &at).await == expected);

    // More parts than the object has, which was the first of them: that is how far it has come.
    bucket.put(&at, parts[0].clone()).await.unwrap();
    let assembly = bucket.begin_parts(&at).await.unwrap();
    for (index, part) in parts[..2].iter().enumerate() {
        bucket.put_part(&at, &assembly, index + 1, part.clone()).await.unwrap();
    }
    let expected = whole(&parts[..2]);
    assert_eq!(other.adopt_parts(&at).await.unwrap().unwrap().size, expected.len() as u64);
    assert!(read(bucket, &at).await == expected);

    // Begun, and nothing was sent yet.
    bucket.delete(&at).await.unwrap();
    bucket.begin_parts(&at).await.unwrap();
    assert_eq!(other.adopt_parts(&at).await.unwrap().unwrap().size, 0);
    assert_eq!(read(bucket, &at).await, "");

    // What is beside it was left alone.
    let tag = bucket.put_part(&near, &beside, 1, parts[2].clone()).await.unwrap();
    bucket.complete_parts(&near, &beside, vec![tag], parts[2].len() as u64).await.unwrap();
    assert!(read(bucket, &near).await == parts[2]);
    Verdict::Passed
}

pub(super) async fn what_nobody_completes_is_removed(subject: Arc<Subject>) -> Verdict {
    let (bucket, other) = (subject.bucket.as_ref(), subject.other.as_ref());
    let (below, at, beside) =
        (key("leftovers/of-these"), key("leftovers/of-these/data"), key("leftovers/of-these-not/data"));
    let part = content(1, 1000);
    let mut assemblies = Vec::new();
    for to in [&at, &at, &beside] {
        let assembly = bucket.begin_parts(to).await.unwrap();
        let tag = bucket.put_part(to, &assembly, 1, part.clone()).await.unwrap();
        assemblies.push((assembly, tag));
    }
    let (hour, now) = (Duration::from_secs(3600), SystemTime::now());
    assert_eq!(other.remove_leftovers(&below, now - hour).await.unwrap(), 0, "they may still be completed");
    let (assembly, tag) = assemblies.remove(0);
    bucket.complete_parts(&at, &assembly, vec![tag], 1000).await.unwrap();
    assert_eq!(other.remove_leftovers(&below, now + hour).await.unwrap(), 1);
    assert!(read(bucket, &at).await == part, "what was completed stays");
    let (assembly, tag) = assemblies.remove(0);
    bucket.delete(&at).await.unwrap();
    assert!(bucket.complete_parts(&at, &assembly, vec![tag], 1000).await.is_err(), "there is nothing to complete");
    // What is beside was left alone.
    let (assembly, tag) = assemblies.remove(0);
    bucket.complete_parts(&beside, &assembly, vec![tag], 1000).await.unwrap();
    assert!(read(bucket, &beside).await == part);
    Verdict::Passed
}
