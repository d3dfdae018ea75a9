//! What the log tells of requests to a store. A program of its own, because the log is one for the whole process.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::Write;
use std::sync::{Arc, Mutex};

use berth_storage::layers::{Fault, Faulty, Shelf, ShelfOptions, StackOptions, stack};
use bytes::Bytes;

/// Where the log is written to.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_of_every_try() {
    let log = Log::default();
    let writer = log.clone();
    let format = tracing_subscriber::fmt().without_time().with_ansi(false).with_target(false);
    let subscriber = format.with_max_level(tracing::Level::DEBUG).with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let faulty = Faulty::listed(Arc::new(Shelf::new(ShelfOptions::default())), [Some(Fault::Stalled)]);
    let bucket = stack(Arc::new(faulty), &StackOptions::default(), Arc::new(()));
    bucket.put(&"a/b".parse().unwrap(), Bytes::from_static(b"what is written is not told")).await.unwrap();

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let error = "error=a/b: cannot send a request: no answer in time";
    let store = |attempt| format!("DEBUG try{{attempt={attempt}}}:store{{driver=\"shelf\" action=\"put\" key=a/b}}:");
    assert_eq!(lines[0], format!("{} the store has not done what was asked elapsed_ms=30000 {error}", store(1)));
    let again = "DEBUG a request is tried again driver=\"shelf\" action=\"put\" key=a/b attempt=2 wait_ms=";
    assert!(lines[1].starts_with(again) && lines[1].ends_with(error), "{}", lines[1]);
    assert_eq!(lines[2..], [format!("{} the store has answered elapsed_ms=0", store(2))]);
}
