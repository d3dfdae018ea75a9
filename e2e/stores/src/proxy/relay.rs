//! One connection of a client, and the one that is kept for it to the server.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::Sleep;

use super::{Dialect, Fault, MAX_STALL, Shared, connect};

/// How much of a request's body is read before it is refused. A client that sends more may meet a closed connection
/// before it reads why, as it may with the real servers.
const MAX_DRAINED_BYTES: usize = 64 << 20;

type Answer = Response<Either<Cut, Full<Bytes>>>;

/// Serves a connection until its end.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    // The connection below owns the socket; this second handle is for the option that makes its end a reset.
    let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
    let relay = Relay { shared: shared.clone(), socket, upstream: Mutex::new(None) };
    match &shared.tls {
        None => relay.serve(stream).await,
        Some(tls) => {
            // A client that does not trust us is gone now.
            let Ok(stream) = tls.accept(stream).await else { return };
            relay.serve(stream).await;
        }
    }
}

struct Relay {
    shared: Arc<Shared>,
    socket: OwnedFd,
    /// The requests of a connection come one after the other, so nobody waits for this lock.
    upstream: Mutex<Option<SendRequest<Incoming>>>,
}

impl Relay {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) {
        let service = service_fn(|request| self.answer(request));
        let mut builder = server::Builder::new();
        builder.preserve_header_case(true).max_headers(256);
        // An error is a client that has gone, or a fault of ours.
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> io::Result<Answer> {
        if self.shared.is_left_out(request.uri().path()) {
            return self.pass(request).await;
        }
        let method = request.method().clone();
        let kind = self.shared.dialect.kind(&method, request.uri().path(), request.uri().query().unwrap_or_default());
        self.shared.counts().request(&method, kind);
        let (fault, stall) = {
            let mut dice = self.shared.dice();
            (dice.throw(&method, kind), dice.stall())
        };
        let Some(fault) = fault else { return self.pass(request).await };
        if fault != Fault::Truncate {
            self.shared.counts().fault(fault);
        }
        match fault {
            Fault::Error => Ok(refuse(request, self.shared.dialect, StatusCode::INTERNAL_SERVER_ERROR).await),
            Fault::SlowDown => Ok(refuse(request, self.shared.dialect, StatusCode::SERVICE_UNAVAILABLE).await),
            Fault::Deny => Ok(refuse(request, self.shared.dialect, StatusCode::FORBIDDEN).await),
            Fault::Reset => Err(self.reset()),
            Fault::Lost => {
                let answer = self.pass(request).await?;
                // The answer's body is read, so that the server has ended what it does.
                let _ = drain(answer.into_body(), MAX_DRAINED_BYTES).await;
                Err(self.reset())
            }
            Fault::Stall => self.stall(request, stall).await,
            Fault::Truncate => self.truncate(&method, request).await,
            Fault::Hang => self.hang(&method, request).await,
        }
    }

    async fn stall(&self, request: Request<Incoming>, time: Duration) -> io::Result<Answer> {
        tokio::time::sleep(time).await;
        self.pass(request).await
    }

    async fn truncate(&self, method: &Method, request: Request<Incoming>) -> io::Result<Answer> {
        let mut answer = self.pass(request).await?;
        let Either::Left(body) = answer.body_mut() else { return Ok(answer) };
        if method != Method::HEAD && !body.is_end_stream() {
            self.shared.counts().fault(Fault::Truncate);
            body.cut();
        }
        Ok(answer)
    }

    async fn hang(&self, method: &Method, request: Request<Incoming>) -> io::Result<Answer> {
        let mut answer = self.pass(request).await?;
        match answer.body_mut() {
            Either::Left(body) if method != Method::HEAD && !body.is_end_stream() => {
                body.hang();
                Ok(answer)
            }
            _ => {
                tokio::time::sleep(MAX_STALL).await;
                Err(self.reset())
            }
        }
    }

    /// Passes a request on. A kept connection may have been closed by the server since; a request that was not sent
    /// there is sent on a new one.
    async fn pass(&self, request: Request<Incoming>) -> io::Result<Answer> {
        let mut upstream = self.upstream.lock().await;
        let mut request = request;
        if let Some(mut kept) = upstream.take()
            && kept.ready().await.is_ok()
        {
            match kept.try_send_request(request).await {
                Ok(response) => {
                    *upstream = Some(kept);
                    return Ok(response.map(|body| Either::Left(Cut::whole(body))));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(io::Error::other(error.into_error())),
                },
            }
        }
        let mut builder = client::Builder::new();
        builder.preserve_header_case(true).max_headers(256);
        let stream = TokioIo::new(connect(self.shared.upstream).await?);
        let (mut sender, connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
        // It ends with the sender.
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        *upstream = Some(sender);
        Ok(response.map(|body| Either::Left(Cut::whole(body))))
    }

    /// Makes the end of the connection a reset, and is the error that ends it.
    fn reset(&self) -> io::Error {
        let _ = rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
        io::Error::from(io::ErrorKind::ConnectionReset)
    }
}

/// Refuses a request in the words of the server.
async fn refuse(request: Request<Incoming>, dialect: Dialect, status: StatusCode) -> Answer {
    let _ = drain(request.into_body(), MAX_DRAINED_BYTES).await;
    let say = |slow: &'static str, denied: &'static str, error: &'static str| match status {
        StatusCode::SERVICE_UNAVAILABLE => slow,
        StatusCode::FORBIDDEN => denied,
        _ => error,
    };
    let xml = |code: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>broken on purpose</Message></Error>"
        )
    };
    let (kind, body) = match dialect {
        Dialect::S3 => ("application/xml", xml(say("SlowDown", "AccessDenied", "InternalError"))),
        Dialect::Azure => ("application/xml", xml(say("ServerBusy", "AuthorizationFailure", "InternalError"))),
        Dialect::Gcs => {
            let (code, reason) = (status.as_u16(), say("backendError", "forbidden", "internalError"));
            let text = format!(
                r#"{{"error":{{"code":{code},"message":"broken on purpose","errors":[{{"reason":"{reason}"}}]}}}}"#
            );
            ("application/json", text)
        }
        Dialect::Swift => ("text/plain", "broken on purpose".to_owned()),
    };
    let mut answer = Response::new(Either::Right(Full::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Reads a body to its end, or until it is too long.
async fn drain<B: Body<Data = Bytes> + Unpin>(mut body: B, limit: usize) -> Option<()> {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        read += frame.ok()?.data_ref().map_or(0, Bytes::len);
        if read > limit {
            return None;
        }
    }
    Some(())
}

/// A body of the server, passed on as it comes: the whole of it, or half.
struct Cut {
    body: Incoming,
    state: State,
    /// How long nothing comes behind that half, before the connection ends.
    silence: Option<Pin<Box<Sleep>>>,
}

enum State {
    Whole,
    /// So many bytes still come; of a body whose length nobody has said, half of the first piece.
    Left(Option<u64>),
    /// All that should come was handed over, and has a chance to be sent before the connection ends.
    Sent,
    Over,
}

impl Cut {
    fn whole(body: Incoming) -> Self {
        Self { body, state: State::Whole, silence: None }
    }

    fn hang(&mut self) {
        self.cut();
        self.silence = Some(Box::pin(tokio::time::sleep(MAX_STALL)));
    }

    fn cut(&mut self) {
        self.state = State::Left(self.body.size_hint().exact().map(|length| length / 2));
    }
}

impl Body for Cut {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.state {
            State::Sent => {
                // The connection sends what it has when a body has nothing ready.
                if let Some(silence) = &mut self.silence {
                    ready!(silence.as_mut().poll(cx));
                }
                self.state = State::Over;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            State::Left(Some(0)) => {
                self.state = State::Sent;
                return self.poll_frame(cx);
            }
            State::Over => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            State::Whole | State::Left(_) => {}
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let State::Left(left) = self.state else {
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        };
        let data = match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => data,
            Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
            Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
            None => return Poll::Ready(None),
        };
        let left = left.unwrap_or(data.len() as u64 / 2);
        let now = left.min(data.len() as u64);
        self.state = if left == now { State::Sent } else { State::Left(Some(left - now)) };
        Poll::Ready(Some(Ok(Frame::data(data.slice(..usize::try_from(now).unwrap_or(data.len()))))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Whole) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // What was promised stays so: that is what makes the end premature.
        self.body.size_hint()
    }
}
