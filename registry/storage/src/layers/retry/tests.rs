use super::*;
use crate::Refusal;
use crate::layers::test::{Recorder, read};
use crate::layers::{Fault, Faulty, Observed, Outcome, Shelf, ShelfOptions};

/// A store of which every part can be reached.
struct Bench {
    shelf: Arc<Shelf>,
    faulty: Arc<Faulty>,
    recorder: Arc<Recorder>,
    retrying: Retrying,
}

impl Bench {
    /// The next requests fail as listed.
    fn new(faults: impl IntoIterator<Item = Option<Fault>>) -> Self {
        Bench::with(RetryOptions::default(), faults)
    }

    fn with(options: RetryOptions, faults: impl IntoIterator<Item = Option<Fault>>) -> Self {
        let shelf = Arc::new(Shelf::new(ShelfOptions::default()));
        let faulty = Arc::new(Faulty::listed(shelf.clone(), faults));
        let recorder = Arc::new(Recorder::default());
        let observed = Arc::new(Observed::new(faulty.clone(), recorder.clone()));
        Bench { shelf, faulty, recorder, retrying: Retrying::new(observed, options) }
    }

    /// The requests that were sent since it was asked last, by their actions.
    fn actions(&self) -> Vec<&'static str> {
        self.recorder.take().into_iter().map(|(action, ..)| action).collect()
    }
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

/// Text that no two parts of are alike, longer than a body that is read as a whole.
fn long_text() -> String {
    (0..40_000).map(|n| format!("{n},")).collect()
}

const LOST: Option<Fault> = Some(Fault::Lost);
const BUSY: Option<Fault> = Some(Fault::SlowDown);

#[tokio::test(start_paused = true)]
async fn what_fails_for_a_moment_is_tried_again_and_the_rest_is_not() {
    for (fault, tries) in [
        (Fault::SlowDown, 2),
        (Fault::Failed, 2),
        (Fault::FailedAfter, 2),
        (Fault::Reset, 2),
        (Fault::Lost, 2),
        (Fault::Stalled, 2),
        (Fault::StalledAfter, 2),
    ] {
        let bench = Bench::new([Some(fault)]);
        bench.retrying.put(&key("a"), Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(bench.recorder.count(), tries, "{fault:?}");
    }
    let bench = Bench::new([]);
    let assembly = Assembly("none".to_owned());
    assert!(bench.retrying.head(&key("a")).await.unwrap_err().is_not_found());
    assert!(bench.retrying.delete(&key("a")).await.unwrap_err().is_not_found());
    assert!(bench.retrying.copy(&key("a"), &key("b")).await.unwrap_err().is_not_found());
    assert!(bench.retrying.get(&key("a"), None).await.is_err_and(|error| error.is_not_found()));
    assert!(bench.retrying.abort_parts(&key("a"), &assembly).await.is_err());
    assert!(bench.retrying.complete_parts(&key("a"), &assembly, Vec::new(), 0).await.is_err());
    assert_eq!(bench.actions(), ["head", "delete", "copy", "get", "abort_parts", "complete_parts"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_tried_so_often_so_long_and_no_more() {
    let options = RetryOptions::default();
    let began = Instant::now();
    let bench = Bench::new([BUSY; 20]);
    let error = bench.retrying.head(&key("a")).await.unwrap_err();
    assert_eq!(error.to_string(), "a: cannot send a request: the server says: SlowDown (status 503)");
    assert_eq!(bench.recorder.count(), 5);
    assert!(began.elapsed() <= options.first_wait * 15, "100, 200, 400 and 800 ms at the most");
    bench.retrying.check().await.unwrap_err();
    assert_eq!(bench.recorder.count(), 1, "a check is tried once");

    // Each try takes 30 seconds to fail: the third fails a minute after the first.
    let bench = Bench::new([Some(Fault::Stalled); 20]);
    bench.retrying.head(&key("a")).await.unwrap_err();
    assert!((3..=4).contains(&bench.recorder.count()));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_gets_one_try_a_request_until_it_answers() {
    let options = RetryOptions { budget: 50, ..RetryOptions::default() };
    let bench = Bench::with(options, [BUSY; 1000]);
    let a = key("a");
    for _ in 0..200 {
        bench.retrying.head(&a).await.unwrap_err();
    }
    assert_eq!(bench.recorder.count(), 200 + 10, "the budget is good for ten tries more, of all requests");
    // An answer pays back a fifth of a try.
    bench.shelf.plant("a", "x");
    for (answers, expected) in [(4, 1), (1, 2), (10, 3)] {
        bench.faulty.then([]);
        for _ in 0..answers {
            bench.retrying.head(&a).await.unwrap();
        }
        bench.faulty.then([BUSY; 5]);
        bench.recorder.take();
        bench.retrying.head(&a).await.unwrap_err();
        assert_eq!(bench.recorder.count(), expected, "{answers} answers");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_created_by_a_try_whose_answer_was_lost_is_ours() {
    let content = Bytes::from_static(b"mine");
    let bench = Bench::new([LOST]);
    bench.retrying.create(&key("a"), content.clone()).await.unwrap();
    assert_eq!(bench.actions(), ["create", "create", "get"]);

    // The look is tried again as well, and an answer that breaks off says nothing.
    let bench = Bench::new([LOST, None, BUSY, Some(Fault::Truncated(500)), None]);
    bench.retrying.create(&key("a"), content.clone()).await.unwrap();
    assert_eq!(bench.actions(), ["create", "create", "get", "get", "get"]);

    let long = Bytes::from(long_text());
    let bench = Bench::new([LOST, None, Some(Fault::Broken(900))]);
    bench.retrying.create(&key("a"), long).await.unwrap();

    for (others, actions) in [("theirs", 3), ("your", 3), ("", 3)] {
        let bench = Bench::new([BUSY]);
        bench.shelf.plant("a", others);
        let error = bench.retrying.create(&key("a"), content.clone()).await.unwrap_err();
        assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error}");
        assert_eq!(bench.recorder.count(), actions);
        assert_eq!(bench.shelf.peek("a").unwrap(), others);
    }
    // Who is told so at the first try is not asked who it was.
    let bench = Bench::new([]);
    bench.shelf.plant("a", "mine");
    bench.retrying.create(&key("a"), content).await.unwrap_err();
    assert_eq!(bench.actions(), ["create"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_try_whose_answer_was_lost_has_removed_is_removed() {
    let bench = Bench::new([LOST]);
    bench.shelf.plant("a", "x");
    bench.retrying.delete(&key("a")).await.unwrap();
    assert_eq!(bench.shelf.names(), [""; 0]);

    let bench = Bench::new([None, LOST]);
    let assembly = bench.retrying.begin_parts(&key("a")).await.unwrap();
    bench.retrying.abort_parts(&key("a"), &assembly).await.unwrap();
    assert_eq!(bench.actions(), ["begin_parts", "abort_parts", "abort_parts"]);
}

#[tokio::test(start_paused = true)]
async fn parts_that_a_try_whose_answer_was_lost_has_put_together_are_an_object() {
    let (to, size) = (key("to"), 3);
    for (last, size, old, is_done) in
        [(LOST, size, None, true), (BUSY, size + 1, None, false), (BUSY, size + 1, Some("old"), false)]
    {
        let bench = Bench::new([None, None, last]);
        if let Some(old) = old {
            bench.shelf.plant("to", old);
        }
        let assembly = bench.retrying.begin_parts(&to).await.unwrap();
        let part = bench.retrying.put_part(&to, &assembly, 1, Bytes::from_static(b"new")).await.unwrap();
        let result = bench.retrying.complete_parts(&to, &assembly, vec![part], size).await;
        assert_eq!(result.is_ok(), is_done);
        assert_eq!(bench.actions()[2..], ["complete_parts", "complete_parts", "head"]);
        assert_eq!(bench.shelf.peek("to"), is_done.then(|| "new".into()).or(old.map(Into::into)));
    }
}

#[test]
fn parts_are_lost_when_the_store_finds_none_and_not_when_it_refuses_to_look() {
    let service =
        |status| StoreError::service("k", "x", Refusal { status, code: String::new(), message: String::new() });
    assert!(has_lost_parts(&StoreError::NotFound { key: "k".to_owned() }));
    for (status, expected) in
        [(400, true), (404, true), (409, true), (412, true), (401, false), (403, false), (501, false)]
    {
        assert_eq!(has_lost_parts(&service(status)), expected, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn parts_that_a_try_whose_answer_was_lost_has_adopted_are_adopted() {
    let (at, none) = (key("at"), key("none"));
    let bench = Bench::new([None, None, LOST, None, None, LOST]);
    let assembly = bench.retrying.begin_parts(&at).await.unwrap();
    bench.retrying.put_part(&at, &assembly, 1, Bytes::from_static(b"abc")).await.unwrap();
    assert_eq!(bench.retrying.adopt_parts(&at).await.unwrap().map(|stat| stat.size), Some(3));
    assert_eq!(bench.retrying.adopt_parts(&none).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_body_goes_on_where_it_breaks() {
    let text = long_text();
    let size = text.len() as u64;
    let [broken, truncated] = [Some(Fault::Broken(300)), Some(Fault::Truncated(300))];
    for faults in [
        vec![None],
        vec![broken],
        vec![truncated],
        vec![Some(Fault::Broken(0))],
        vec![BUSY, broken, BUSY, truncated],
        vec![broken, broken, Some(Fault::Stalled), broken],
    ] {
        let bench = Bench::new(faults.clone());
        bench.shelf.plant("a", text.clone());
        let object = bench.retrying.get(&key("a"), None).await.unwrap();
        assert_eq!((object.stat.size, object.range), (size, ByteRange { start: 0, end: size }));
        let (content, error) = read(object.body).await;
        assert!(content == text && error.is_none(), "{faults:?}: {error:?}");

        // A part breaks within itself.
        bench.faulty.then(faults.clone());
        let object = bench.retrying.get(&key("a"), Some(ByteRange { start: 1000, end: 100_000 })).await.unwrap();
        let (content, error) = read(object.body).await;
        assert!(content == text[1000..100_000] && error.is_none(), "{faults:?}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_keeps_breaking_ends_with_an_error() {
    let text = long_text();
    let bench = Bench::new([Some(Fault::Broken(100)); 20]);
    bench.shelf.plant("a", text.clone());
    let (content, error) = read(bench.retrying.get(&key("a"), None).await.unwrap().body).await;
    assert!(text.starts_with(&content) && content.len() < text.len());
    let error = error.unwrap();
    assert!(error.is_transient() && error.to_string().starts_with("a: "), "{error}");
    let told = bench.recorder.take();
    assert_eq!(told.len(), 5, "tries in all");
    assert!(told.iter().all(|(action, outcome, _)| (*action, *outcome) == ("get", Outcome::Failed)));

    bench.faulty.then([Some(Fault::Truncated(1)); 20]);
    let (_, error) = read(bench.retrying.get(&key("a"), None).await.unwrap().body).await;
    let text = error.unwrap().to_string();
    assert!(text.ends_with("that were announced"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_long_body_that_gets_on_may_break_more_often() {
    let text = "0123456789abcdef".repeat(1 << 20);
    // Each of them is a tenth of what is left.
    let bench = Bench::new([Some(Fault::Broken(100)); 20]);
    bench.shelf.plant("a", text.clone());
    let (content, error) = read(bench.retrying.get(&key("a"), None).await.unwrap().body).await;
    // As long as a tenth is more than a mebibyte; then it has its tries.
    assert!(text.starts_with(&content) && content.len() > text.len() / 2, "{}", content.len());
    assert!(error.unwrap().is_transient());
    assert!(bench.recorder.take().len() > 8);
    bench.faulty.then([Some(Fault::Broken(100)); 8]);
    let (content, error) = read(bench.retrying.get(&key("a"), None).await.unwrap().body).await;
    assert!(content == text && error.is_none(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_last_may_have_been_done_before() {
    for (first, is_unknown) in [(BUSY, false), (Some(Fault::Reset), true), (Some(Fault::Stalled), true)] {
        let bench = Bench::new([]);
        let assembly = bench.retrying.begin_parts(&key("a")).await.unwrap();
        bench.faulty.then([first].into_iter().chain([BUSY; 20]));
        let error = bench.retrying.complete_parts(&key("a"), &assembly, Vec::new(), 0).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert_eq!(error.is_unknown(), is_unknown, "{first:?}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_takes_its_time_without_losing_its_tries() {
    let text = long_text();
    let bench = Bench::new([BUSY, Some(Fault::Broken(900))]);
    bench.shelf.plant("a", text.clone());
    let object = bench.retrying.get(&key("a"), None).await.unwrap();
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(read(object.body).await.0 == text);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_changes_is_never_mixed_from_old_and_new() {
    let (old, new) = (long_text(), long_text().replace('1', "2"));
    assert_eq!(old.len(), new.len());
    for shorter in [false, true] {
        let bench = Bench::new([Some(Fault::Broken(900))]);
        bench.shelf.plant("a", old.clone());
        let object = bench.retrying.get(&key("a"), None).await.unwrap();
        bench.shelf.plant("a", if shorter { String::new() } else { new.clone() });
        let (content, error) = read(object.body).await;
        assert!(old.starts_with(&content));
        assert_eq!(error.unwrap().to_string(), "a: cannot read the object: it was replaced while it was read");
    }
    let bench = Bench::new([Some(Fault::Broken(900))]);
    bench.shelf.plant("a", old.clone());
    let object = bench.retrying.get(&key("a"), None).await.unwrap();
    bench.shelf.delete(&key("a")).await.unwrap();
    assert!(read(object.body).await.1.unwrap().is_not_found());
}

#[tokio::test(start_paused = true)]
async fn a_small_body_is_read_anew_from_its_beginning() {
    for fault in [Fault::Broken(500), Fault::Truncated(500), Fault::Truncated(0)] {
        let bench = Bench::new([Some(fault)]);
        bench.shelf.plant("a", "old!");
        let object = bench.retrying.get(&key("a"), None).await.unwrap();
        bench.shelf.plant("a", "new!");
        assert_eq!(read(object.body).await.0, "old!", "it is read when it is given out");
        assert_eq!(bench.actions(), ["get", "get"]);
    }
    let bench = Bench::new([]);
    bench.shelf.plant("empty", "");
    let object = bench.retrying.get(&key("empty"), None).await.unwrap();
    assert_eq!((object.stat.size, object.body.count().await), (0, 0));
}
