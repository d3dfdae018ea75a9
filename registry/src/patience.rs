//! A connection that does not wait for ever.
//!
//! Three waits have no end in the HTTP server itself: for the first bytes, from which it tells HTTP/1.1 from HTTP/2; for
//! a client that does not read what is written; and, at the end, for what a client is still sending. The last matters
//! when a request is answered before its body was read: closing the socket then makes the kernel send a reset, and the
//! client, which is still writing, gets that in place of the answer. So the end of the answer is sent first, and what
//! still arrives is thrown away for a while, unless whoever serves the connection says that nothing can ([`Patient::quiet`]).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much is thrown away at once.
const SCRATCH_BYTES: usize = 16 * 1024;

/// How long each wait may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until it is known which HTTP the client speaks.
    pub(crate) first_bytes: Duration,
    /// Without any progress of what is written.
    pub(crate) write: Duration,
    /// For a client to stop sending when everything has been said.
    pub(crate) end: Duration,
}

/// A connection with patience for each wait.
pub(crate) struct Patient<S> {
    stream: S,
    patience: Patience,
    /// Running until enough has been read.
    first: Option<Pin<Box<Sleep>>>,
    /// How much of the preface has been read.
    of_preface: usize,
    /// Running while a write makes no progress. Kept, so that not every stall makes a new one.
    write: Pin<Box<Sleep>>,
    write_stalls: bool,
    /// Running since everything was written.
    end: Option<Pin<Box<Sleep>>>,
    /// Whether the client has nothing to send that it was not asked for.
    quiet: Arc<AtomicBool>,
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S, patience: Patience) -> Self {
        let first = Some(Box::pin(sleep(patience.first_bytes)));
        let write = Box::pin(sleep(patience.write));
        Patient { stream, patience, first, of_preface: 0, write, write_stalls: false, end: None, quiet: Arc::default() }
    }

    /// Whether the client has nothing more to send than a next request, which it may not begin after the last answer. Its
    /// connection is then ended without waiting for it.
    pub(crate) fn quiet(&self) -> Arc<AtomicBool> {
        self.quiet.clone()
    }

    /// Whether the client can speak HTTP/2 still, and has not said so yet.
    fn note_first(&mut self, read: &[u8]) {
        let expected = &PREFACE[self.of_preface..];
        let count = read.len().min(expected.len());
        self.of_preface += count;
        if read[..count] != expected[..count] || self.of_preface == PREFACE.len() {
            self.first = None;
        }
    }

    /// The outcome of a write, or an error if there has been none for too long.
    fn bounded<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write_stalls = false;
            return outcome;
        }
        if !self.write_stalls {
            self.write_stalls = true;
            self.write.as_mut().reset(Instant::now() + self.patience.write);
        }
        ready!(self.write.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        match (Pin::new(&mut this.stream).poll_read(context, buffer), &mut this.first) {
            (Poll::Ready(Ok(())), Some(_)) => {
                this.note_first(&buffer.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            (Poll::Pending, Some(first)) => {
                ready!(first.as_mut().poll(context));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client says nothing")))
            }
            (outcome, _) => outcome,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, content: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, content);
        self.bounded(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        content: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, content);
        self.bounded(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.bounded(outcome, context)
    }

    /// Says that nothing more follows, and throws away what still arrives until the client ends too.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.end.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            if this.quiet.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
            this.end = Some(Box::pin(sleep(this.patience.end)));
        }
        let Some(end) = &mut this.end else { return Poll::Ready(Ok(())) };
        let mut scratch = [0; SCRATCH_BYTES];
        loop {
            // Asked first: a client that never stops sending must not keep the connection.
            if end.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                // The client has ended, or is gone.
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(3600);

    fn patience(first_bytes: Duration, write: Duration, end: Duration) -> Patience {
        Patience { first_bytes, write, end }
    }

    #[tokio::test]
    async fn a_client_must_say_which_http_it_speaks() {
        for (said, ends) in [("", true), ("P", true), ("PRI * HTTP/2.0\r\n\r\nSM", true), ("GET / HT", false)] {
            let (mut client, server) = duplex(1024);
            let mut server = Patient::new(server, patience(SOON, LATE, LATE));
            client.write_all(said.as_bytes()).await.unwrap();
            let mut found = vec![0; said.len()];
            server.read_exact(&mut found).await.unwrap();
            assert_eq!(server.first.is_some(), ends, "{said:?}");
            if ends {
                assert_eq!(server.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut, "{said:?}");
            }
        }
    }

    #[tokio::test]
    async fn the_preface_may_arrive_in_pieces() {
        let (mut client, server) = duplex(1);
        let mut server = Patient::new(server, patience(LATE, LATE, LATE));
        let writing = tokio::spawn(async move { client.write_all(PREFACE).await.map(|()| client) });
        let mut found = vec![0; PREFACE.len()];
        server.read_exact(&mut found).await.unwrap();
        assert!(server.first.is_none());
        writing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_left() {
        let (mut client, server) = duplex(4);
        let mut server = Patient::new(server, patience(LATE, SOON, LATE));
        assert_eq!(server.write_all(b"more than 4").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut found = [0; 4];
        client.read_exact(&mut found).await.unwrap();
        server.write_all(b"next").await.unwrap();
    }

    #[tokio::test]
    async fn what_a_client_still_sends_is_thrown_away_until_it_ends() {
        let (mut client, server) = duplex(4);
        let mut server = Patient::new(server, patience(LATE, LATE, LATE));
        let ending = tokio::spawn(async move { server.shutdown().await });
        client.write_all(&[7; 100_000]).await.unwrap();
        assert!(!ending.is_finished());
        client.shutdown().await.unwrap();
        ending.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_never_ends_is_left() {
        let (_client, server) = duplex(4);
        Patient::new(server, patience(LATE, LATE, SOON)).shutdown().await.unwrap();
    }
}
