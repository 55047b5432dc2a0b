//! Answers. Storage calls block, so they run on threads made for it, and what they give is written there too: a short
//! answer is sent with its length, a long one in parts while it is written, never held whole.

use super::problem::{Answer, Problem};
use crate::app::App;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use futures_util::StreamExt as _;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Serialize;
use serde_json::json;
use shiphold_storage::audit::RequestId;
use shiphold_storage::series::Budget;
use shiphold_storage::{DataLayer, Error, Result};
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// An answer up to this many bytes is sent whole, with its length.
const WHOLE_BYTES_MAX: usize = 256 << 10;
/// Parts of an answer that may wait for the client.
const PARTS_WAITING_MAX: usize = 4;
/// How long a client may leave us waiting before it reads on.
const READ_SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long the last words of an answer that is cut off have to reach the client.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(200);
/// The least time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// Sets a flag when it is dropped: with the future or the body of a client that went away.
pub(crate) struct CancelOnDrop(Arc<AtomicBool>);

impl CancelOnDrop {
    pub(crate) fn new() -> (Self, Budget) {
        let flag = Arc::new(AtomicBool::new(false));
        (Self(flag.clone()), Budget { cancel: Some(flag), ..Budget::default() })
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl CancelOnDrop {
    /// The answer, with which the work is cancelled: when the client goes away, or has all of it.
    pub(crate) fn with(self, answer: Answer) -> Answer {
        answer.map(|answer| answer.map(|body| Body::new(Guarded { body, _guard: self })))
    }
}

struct Guarded {
    body: Body,
    _guard: CancelOnDrop,
}

impl axum::body::HttpBody for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

tokio::task_local! {
    /// The request that this task serves.
    pub(crate) static REQUEST: RequestId;
}

/// Work on a blocking thread, on behalf of the request that this task serves.
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    let request = REQUEST.try_with(Clone::clone).ok();
    tokio::task::spawn_blocking(move || match request {
        Some(id) => id.during(work),
        None => work(),
    })
}

/// Runs a storage call on a blocking thread.
pub(crate) async fn call<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&DataLayer) -> Result<T> + Send + 'static,
) -> std::result::Result<T, Problem> {
    let layer = app.layer.clone();
    match blocking(move || work(&layer)).await {
        Ok(done) => Ok(done?),
        Err(e) => Err(broken(&e)),
    }
}

/// The work ended in a panic: the log has it, the client gets no more than that.
pub(crate) fn broken(e: &dyn std::fmt::Display) -> Problem {
    tracing::error!(error = %e, "a request ended in a panic");
    Error::internal("the request ended in a fault of the host")
        .hint("look at the host's log and report it")
        .into()
}

/// A storage call whose result is the answer, in JSON.
pub(crate) async fn json<T: Serialize>(
    app: &Arc<App>,
    work: impl FnOnce(&DataLayer) -> Result<T> + Send + 'static,
) -> Answer {
    let layer = app.layer.clone();
    written(JSON, move |out| {
        let value = work(&layer)?;
        out.begin();
        write_json(out, &value)
    })
    .await
}

/// [`json`] with 201.
pub(crate) async fn created<T: Serialize>(
    app: &Arc<App>,
    work: impl FnOnce(&DataLayer) -> Result<T> + Send + 'static,
) -> Answer {
    let mut answer = json(app, work).await?;
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

pub(crate) fn write_json(out: &mut dyn Write, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(out, value).map_err(|e| Error::io("writing the answer", e.into()))
}

/// A small value that is there already.
pub(crate) fn small(value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).map_err(|e| Error::internal(format!("writing the answer: {e}")))?;
    Ok(answer(JSON, Body::from(body)))
}

fn answer(media_type: &'static str, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

/// An answer that blocking work writes. An error before [`Out::begin`] is a problem document; one after it ends the
/// connection, so that no client takes half of an answer for a whole one.
pub(crate) async fn written(
    media_type: &'static str,
    work: impl FnOnce(&mut Out) -> Result<()> + Send + 'static,
) -> Answer {
    written_within(READ_SILENCE_MAX, media_type, work).await
}

async fn written_within(
    patience: Duration,
    media_type: &'static str,
    work: impl FnOnce(&mut Out) -> Result<()> + Send + 'static,
) -> Answer {
    let (head, first) = oneshot::channel();
    let to = To::Head(Some(head));
    let mut out = Out {
        runtime: Handle::current(),
        patience,
        begun: false,
        buffer: Vec::new(),
        to,
        last_words: None,
        announced: None,
        known_last: None,
    };
    blocking(move || {
        let done = work(&mut out);
        out.end(done);
    });
    match first.await {
        Err(e) => Err(broken(&e)),
        Ok(Head::Refused(e)) => Err(e.into()),
        Ok(Head::Whole(bytes, field)) => {
            let mut whole = answer(media_type, Body::from(bytes));
            whole.headers_mut().extend(field.into_iter().flatten());
            Ok(whole)
        }
        Ok(Head::Parts(parts, announced, last)) => {
            let mut head = answer(media_type, parts_body(parts, last));
            head.headers_mut().extend(announced.map(|name| (header::TRAILER, HeaderValue::from(name))));
            Ok(head)
        }
    }
}

type Part = io::Result<Bytes>;

/// The parts, then the fields of a header that were known last, if there are any.
fn parts_body(parts: mpsc::Receiver<Part>, last: oneshot::Receiver<HeaderMap>) -> Body {
    let parts = futures_util::stream::unfold(parts, |mut parts| async {
        parts.recv().await.map(|part| (part.map(Frame::data), parts))
    });
    let last = futures_util::stream::once(last)
        .filter_map(|last| async move { last.ok().map(|field| Ok(Frame::trailers(field))) });
    Body::new(StreamBody::new(parts.chain(last)))
}

enum Head {
    Refused(Error),
    Whole(Vec<u8>, Option<HeaderMap>),
    /// With the field of a header that may follow them, and where it comes from.
    Parts(mpsc::Receiver<Part>, Option<HeaderName>, oneshot::Receiver<HeaderMap>),
}

enum To {
    Head(Option<oneshot::Sender<Head>>),
    Parts(mpsc::Sender<Part>, oneshot::Sender<HeaderMap>),
}

/// Where blocking work writes an answer.
pub(crate) struct Out {
    runtime: Handle,
    patience: Duration,
    begun: bool,
    buffer: Vec<u8>,
    to: To,
    last_words: Option<fn(&Error) -> Bytes>,
    announced: Option<HeaderName>,
    known_last: Option<HeaderMap>,
}

impl Out {
    /// What to say of an error that cuts the answer off, in a form that has room for it.
    pub(crate) fn last_words(&mut self, said: fn(&Error) -> Bytes) {
        self.last_words = Some(said);
    }

    /// A field of the header that is known only when all is written: a short answer has it in its head, a long one behind its
    /// body, for clients that send `TE: trailers`.
    pub(crate) fn announce(&mut self, name: HeaderName) {
        self.announced = Some(name);
    }

    /// The value of the field that was announced.
    pub(crate) fn known_last(&mut self, value: &str) {
        let field = self.announced.clone().zip(HeaderValue::from_str(value).ok());
        self.known_last = field.map(|(name, value)| HeaderMap::from_iter([(name, value)]));
    }

    /// From now on the answer is what is written.
    pub(crate) fn begin(&mut self) {
        self.begun = true;
    }

    fn send(&self, to: &mpsc::Sender<Part>, part: Part) -> io::Result<()> {
        send(&self.runtime, self.patience, to, part)
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        if let To::Head(head) = &mut self.to {
            let (sender, receiver) = mpsc::channel(PARTS_WAITING_MAX);
            let head = head.take().ok_or_else(gone)?;
            let (last, known_last) = oneshot::channel();
            let begun = Head::Parts(receiver, self.announced.clone(), known_last);
            head.send(begun).map_err(|_| gone())?;
            self.to = To::Parts(sender, last);
        }
        let part = Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(WHOLE_BYTES_MAX)));
        match &self.to {
            To::Parts(to, _) => self.send(to, Ok(part)),
            To::Head(_) => Ok(()),
        }
    }

    fn end(mut self, done: Result<()>) {
        match (&mut self.to, done) {
            (To::Head(head), Ok(())) => {
                if let Some(head) = head.take() {
                    let _ = head.send(Head::Whole(std::mem::take(&mut self.buffer), self.known_last.take()));
                }
            }
            (To::Head(head), Err(e)) => {
                if let Some(head) = head.take() {
                    let _ = head.send(Head::Refused(e));
                }
            }
            // A client that went away needs no more.
            (To::Parts(..), Ok(())) => {
                let _ = self.flush_buffer();
                if let (To::Parts(_, last), Some(field)) = (self.to, self.known_last) {
                    let _ = last.send(field);
                }
            }
            (To::Parts(to, _), Err(e)) => {
                tracing::warn!(error = ?e, "an answer was cut off");
                let to = to.clone();
                if let Some(said) = self.last_words {
                    self.buffer.extend_from_slice(&said(&e));
                    let _ = self.flush_buffer();
                    // A connection that breaks takes along what was not sent yet.
                    std::thread::sleep(LAST_WORDS_WAIT);
                }
                let _ = self.send(&to, Err(io::Error::other(e)));
            }
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        debug_assert!(self.begun, "an answer begins before it is written");
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WHOLE_BYTES_MAX {
            self.flush_buffer()?;
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the client went away")
}

/// Sends a part from a blocking thread, within the patience that a slow reader gets.
fn send(runtime: &Handle, patience: Duration, to: &mpsc::Sender<Part>, part: Part) -> io::Result<()> {
    let part = match to.try_send(part) {
        Ok(()) => return Ok(()),
        Err(mpsc::error::TrySendError::Closed(_)) => return Err(gone()),
        Err(mpsc::error::TrySendError::Full(part)) => part,
    };
    match runtime.block_on(async { tokio::time::timeout(patience, to.send(part)).await }) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(gone()),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read on")),
    }
}

/// Does the client want lines of progress?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wants {
    lines: bool,
}

impl Wants {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self { lines: accepts(headers, NDJSON) }
    }
}

/// Does `Accept` name this media type?
pub(crate) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|v| v.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case(media_type)))
}

/// Where long work tells how far it is.
pub(crate) struct Progress {
    to: Option<mpsc::Sender<Part>>,
    last: Option<Instant>,
}

impl Progress {
    /// Units done, of so many (0: not known), and what is being done. Progress that a client does not take is left out.
    pub(crate) fn tell(&mut self, done: u64, total: u64, text: &str) {
        let Some(to) = &self.to else { return };
        if self.last.is_some_and(|at| at.elapsed() < PROGRESS_EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        let _ = to.try_send(Ok(line(&json!({ "progress": { "done": done, "total": total, "text": text } }))));
    }
}

fn line(value: &serde_json::Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}

fn last_line<T: Serialize>(done: std::result::Result<T, Problem>) -> Bytes {
    let value = match done {
        Ok(value) => serde_json::to_value(&value)
            .map(|v| json!({ "result": v }))
            .unwrap_or_else(|e| json!({ "error": Problem::from(Error::internal(e.to_string())).document() })),
        Err(problem) => json!({ "error": problem.document() }),
    };
    line(&value)
}

/// Long work on a blocking thread: plain JSON at its end, or lines of progress. It goes on when the client goes away,
/// unless it looks at the budget.
pub(crate) async fn work<T: Serialize + Send + 'static>(
    app: &Arc<App>,
    wants: Wants,
    work: impl FnOnce(&DataLayer, &Budget, &mut Progress) -> Result<T> + Send + 'static,
) -> Answer {
    let (guard, budget) = CancelOnDrop::new();
    if !wants.lines {
        let done = json(app, move |layer| work(layer, &budget, &mut Progress { to: None, last: None })).await;
        drop(guard);
        return done;
    }
    let (sender, receiver) = mpsc::channel(PARTS_WAITING_MAX);
    let (layer, runtime) = (app.layer.clone(), Handle::current());
    let task = blocking(move || {
        let mut progress = Progress { to: Some(sender.clone()), last: None };
        let done = work(&layer, &budget, &mut progress).map_err(Problem::from);
        let _ = send(&runtime, READ_SILENCE_MAX, &sender, Ok(last_line(done)));
    });
    Ok(lines(receiver, task, guard))
}

/// The same for work that is not blocking. It always runs to its end: a client that goes away must not leave half of
/// a plan without a record.
pub(crate) async fn work_async<T: Serialize + Send + 'static>(
    wants: Wants,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Answer {
    let task = tokio::spawn(work);
    if !wants.lines {
        return match task.await {
            Ok(done) => small(&done?),
            Err(e) => Err(broken(&e)),
        };
    }
    let (sender, receiver) = mpsc::channel(PARTS_WAITING_MAX);
    let task = tokio::spawn(async move {
        let done = match task.await {
            Ok(done) => done.map_err(Problem::from),
            Err(e) => Err(broken(&e)),
        };
        let _ = sender.send(Ok(last_line(done))).await;
    });
    let (guard, _) = CancelOnDrop::new();
    Ok(lines(receiver, task, guard))
}

fn lines(
    receiver: mpsc::Receiver<Part>,
    task: tokio::task::JoinHandle<()>,
    guard: CancelOnDrop,
) -> Response<Body> {
    let parts =
        futures_util::stream::unfold(receiver, |mut r| async { r.recv().await.map(|part| (part, r)) });
    // When the work ended in a panic, nothing was sent: say so.
    let end = futures_util::stream::once(async move {
        let panicked = task.await.err().map(|e| Ok(last_line::<()>(Err(broken(&e)))));
        drop(guard);
        panicked
    })
    .filter_map(|part| async { part });
    answer(NDJSON, Body::from_stream(parts.chain(end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::HttpBody as _;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn a_short_answer_has_its_length_and_a_long_one_comes_in_parts() {
        for size in [0, 1, WHOLE_BYTES_MAX - 1, WHOLE_BYTES_MAX, 3 * WHOLE_BYTES_MAX + 5] {
            let got = written(JSON, move |out| {
                out.begin();
                out.write_all(&vec![7; size]).map_err(|e| Error::io("", e))
            })
            .await
            .unwrap()
            .into_body();
            let exact = got.size_hint().exact();
            assert_eq!(exact.is_some(), size < WHOLE_BYTES_MAX, "{size}");
            assert_eq!(got.collect().await.unwrap().to_bytes().len(), size);
        }
    }

    #[tokio::test]
    async fn an_error_is_a_problem_before_the_answer_and_a_broken_body_after() {
        let early = written(JSON, |_| Err(Error::not_found("x"))).await.unwrap_err();
        assert_eq!(early.status, 404);
        let late = written(JSON, |out| {
            out.begin();
            out.write_all(&vec![7; WHOLE_BYTES_MAX]).map_err(|e| Error::io("", e))?;
            Err(Error::corrupt("x"))
        })
        .await
        .unwrap();
        assert!(late.into_body().collect().await.is_err());
        let panicked = written(JSON, |_| panic!("on purpose")).await.unwrap_err();
        assert_eq!(panicked.status, 500);
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_let_go() {
        let (told, was) = oneshot::channel();
        let answer = written_within(Duration::from_millis(20), JSON, move |out| {
            out.begin();
            let end = (0..100).find_map(|_| out.write_all(&vec![7; WHOLE_BYTES_MAX]).err());
            let _ = told.send(end.map(|e| e.kind()));
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(was.await.unwrap(), Some(io::ErrorKind::TimedOut));
        drop(answer);
    }

    #[test]
    fn accept_is_read_word_by_word() {
        let of = |v: &str| {
            let mut h = HeaderMap::new();
            h.insert(header::ACCEPT, v.parse().unwrap());
            accepts(&h, NDJSON)
        };
        assert!(of("application/x-ndjson") && of("text/html, Application/X-NDJSON;q=0.9"));
        assert!(!of("*/*") && !of("application/x-ndjsonx") && !accepts(&HeaderMap::new(), NDJSON));
    }
}
