//! The way to the routes: the socket of a running host, or the very same router in this process.

use super::output::{Failure, Output};
use super::series::Format;
use crate::app::App;
use crate::http::{Door, NEXT, router};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use shiphold_storage::{DataLayer, Kind, Manifest};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tower::ServiceExt as _;

/// Bytes of an answer that is not a stream.
const ANSWER_BYTES_MAX: usize = 1 << 30;
/// Bytes of one line of a progress stream.
const LINE_BYTES_MAX: usize = 64 << 20;
/// How long a host that is starting or ending may keep us from both doors.
const DOOR_WAIT_MAX: Duration = Duration::from_secs(3);

/// A way to the routes.
pub(crate) enum Client {
    Socket(PathBuf),
    Here { router: axum::Router, app: Arc<App> },
}

impl Client {
    pub(crate) async fn open(manifest: &Manifest) -> Result<Self, Failure> {
        let socket = manifest.host.data.join(crate::serve::SOCKET);
        let begin = Instant::now();
        loop {
            if UnixStream::connect(&socket).await.is_ok() {
                return Ok(Self::Socket(socket));
            }
            let wanted = manifest.clone();
            let opened = tokio::task::spawn_blocking(move || DataLayer::open(&wanted))
                .await
                .map_err(|e| Failure::plain(format!("opening the data folder: {e}")))?;
            match opened {
                Ok(layer) => {
                    let app = App::new(layer)?;
                    return Ok(Self::Here { router: router(app.clone(), Door::Socket), app });
                }
                // A host that is starting holds the lock before it listens; one that ends, after.
                Err(e) if e.kind() == Kind::Busy && begin.elapsed() < DOOR_WAIT_MAX => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Ends what was opened in this process.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        let Self::Here { app, .. } = self else { return Ok(()) };
        tokio::task::spawn_blocking(move || app.layer.close())
            .await
            .map_err(|e| Failure::plain(format!("closing the data folder: {e}")))?
            .map_err(Failure::from)
    }

    /// One exchange; an answer that is no success is a failure.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let lost = |e: &dyn std::fmt::Display| Failure::plain(format!("the host ended the exchange: {e}"));
        let answer = match self {
            Self::Here { router, .. } => match router.clone().oneshot(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            },
            Self::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(|e| lost(&e))?;
                let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(|e| lost(&e))?;
                tokio::spawn(connection);
                sender.send_request(request).await.map_err(|e| lost(&e))?.map(Body::new)
            }
        };
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = collect(answer.into_body()).await?;
        Err(match serde_json::from_slice::<Value>(&body) {
            Ok(problem) => Failure::problem(&problem),
            Err(_) => Failure::plain(format!("HTTP {status}: {}", String::from_utf8_lossy(&body))),
        })
    }

    /// `GET`, an answer in JSON.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.json(Method::GET, path, None).await
    }

    /// `POST` of JSON, an answer in JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.json(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let answer = self.send(request(method, path, body, "application/json")?).await?;
        if answer.status() == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        body_json(answer).await
    }

    /// `POST` of JSON, rows in the form that `accept` names, printed as they come.
    pub(crate) async fn rows(&self, path: &str, body: &Value, accept: &str) -> Result<(), Failure> {
        let answer = self.send(request(Method::POST, path, Some(body), accept)?).await?;
        let mut parts = answer.into_body().into_data_stream();
        let mut stdout = tokio::io::stdout();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|e| {
                Failure::plain(format!("the rows end before the answer does: {e}"))
                    .hinted("look at the host's log for why; what was printed is not all of it")
            })?;
            match stdout.write_all(&part).await {
                Ok(()) => {}
                // `| head` has enough.
                Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                Err(e) => return Err(Failure::plain(format!("printing the rows: {e}"))),
            }
        }
        stdout.flush().await.map_err(|e| Failure::plain(format!("printing the rows: {e}")))
    }

    /// [`Client::rows`] of one page, but for what only says where the next one begins, which it gives; `further`: and for the head.
    pub(crate) async fn page(
        &self,
        path: &str,
        body: &Value,
        format: Format,
        further: bool,
    ) -> Result<Option<String>, Failure> {
        let mut request = request(Method::POST, path, Some(body), format.media_type())?;
        // Without it a long answer in CSV could not say it.
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        let answer = self.send(request).await?;
        let cursor = |fields: &HeaderMap| fields.get(NEXT).and_then(|v| v.to_str().ok()).map(str::to_string);
        let mut next = cursor(answer.headers());
        let mut page = Page { skip_head: further && format == Format::Csv, last: Vec::new() };
        let mut parts = answer.into_body();
        let mut stdout = tokio::io::stdout();
        let printing = |e: std::io::Error| Failure::plain(format!("printing the rows: {e}"));
        while let Some(part) = parts.frame().await {
            let part = part.map_err(|e| {
                Failure::plain(format!("the rows end before the answer does: {e}"))
                    .hinted("look at the host's log for why; what was printed is not all of it")
            })?;
            match part.into_data() {
                Ok(data) => {
                    let whole = page.take(&data);
                    match stdout.write_all(&whole).await {
                        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(None),
                        done => done.map_err(printing)?,
                    }
                }
                Err(other) => next = other.trailers_ref().and_then(cursor).or(next),
            }
        }
        match page.cursor() {
            Some(cursor) => next = Some(cursor),
            None => stdout.write_all(&page.last).await.map_err(printing)?,
        }
        stdout.flush().await.map_err(printing)?;
        Ok(next)
    }

    /// `POST` of text, an answer in JSON.
    pub(crate) async fn json_text(&self, path: &str, text: String) -> Result<Value, Failure> {
        let mut request = request(Method::POST, path, None, "application/json")?;
        *request.body_mut() = Body::from(text);
        body_json(self.send(request).await?).await
    }

    /// Long work: shows its progress and gives its result.
    pub(crate) async fn work(
        &self,
        path: &str,
        body: &Value,
        out: &Output,
        what: &str,
    ) -> Result<Value, Failure> {
        self.watch(request(Method::POST, path, Some(body), "application/x-ndjson")?, out, what).await
    }

    /// Long work that a file is sent to.
    pub(crate) async fn work_with_file(
        &self,
        path: &str,
        file: &Path,
        out: &Output,
        what: &str,
    ) -> Result<Value, Failure> {
        let body = file_body(file).await?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::ACCEPT, "application/x-ndjson")
            .body(body)
            .map_err(|e| Failure::plain(e.to_string()))?;
        self.watch(request, out, what).await
    }

    /// What is answered as a file: under another name until it is whole and durable. Gives its bytes.
    pub(crate) async fn download(
        &self,
        request: Request<Body>,
        to: &Path,
        bar: &indicatif::ProgressBar,
    ) -> Result<u64, Failure> {
        let wrong = |path: &Path, e: std::io::Error| Failure::plain(format!("{}: {e}", path.display()));
        let answer = self.send(request).await.inspect_err(|_| bar.finish_and_clear())?;
        let mut parts = answer.into_body().into_data_stream();
        let mut partial = to.as_os_str().to_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let mut file = tokio::fs::File::create(&partial).await.map_err(|e| {
            bar.finish_and_clear();
            wrong(&partial, e)
        })?;
        let mut bytes = 0;
        let copied = async {
            while let Some(part) = parts.next().await {
                let part = part.map_err(|e| {
                    Failure::plain(format!("the host ended the export: {e}"))
                        .hinted("look at the host's log for why, then run it again")
                })?;
                file.write_all(&part).await.map_err(|e| wrong(&partial, e))?;
                bytes += part.len() as u64;
                bar.set_position(bytes);
            }
            file.flush().await.map_err(|e| wrong(&partial, e))?;
            file.sync_all().await.map_err(|e| wrong(&partial, e))
        }
        .await;
        bar.finish_and_clear();
        if copied.is_err() {
            let _ = tokio::fs::remove_file(&partial).await;
            return copied.map(|()| bytes);
        }
        tokio::fs::rename(&partial, to).await.map_err(|e| wrong(to, e))?;
        // The name is durable when its folder is.
        let folder = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let handle = tokio::fs::File::open(folder).await.map_err(|e| wrong(folder, e))?;
        handle.sync_all().await.map_err(|e| wrong(folder, e))?;
        Ok(bytes)
    }

    async fn watch(&self, request: Request<Body>, out: &Output, what: &str) -> Result<Value, Failure> {
        let bar = out.progress(what);
        let answer = self.send(request).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(e) => {
                bar.finish_and_clear();
                return Err(e);
            }
        };
        let mut stream = answer.into_body().into_data_stream();
        let mut pending: Vec<u8> = Vec::new();
        let mut last = None;
        while let Some(part) = stream.next().await {
            let part = part.map_err(|e| Failure::plain(format!("the host ended the exchange: {e}")))?;
            pending.extend_from_slice(&part);
            while let Some(end) = pending.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                if let Some(value) = event(&line, &bar)? {
                    last = Some(value);
                }
            }
            if pending.len() > LINE_BYTES_MAX {
                return Err(Failure::plain("the host's answer has a line without end"));
            }
        }
        if let Some(value) = event(&pending, &bar)? {
            last = Some(value);
        }
        bar.finish_and_clear();
        last.ok_or_else(|| {
            Failure::plain("the host ended the exchange before the work was done")
                .hinted("look at the host's log, then run it again: every job may be run twice")
        })
    }
}

/// The lines of a page on their way to the terminal: the last one is held back, for it may not be a row.
struct Page {
    skip_head: bool,
    last: Vec<u8>,
}

impl Page {
    /// What can be printed.
    fn take(&mut self, data: &[u8]) -> Vec<u8> {
        self.last.extend_from_slice(data);
        if self.skip_head {
            // A name may have line breaks: between quotes.
            let mut quoted = false;
            let ends = |b: &u8| {
                quoted ^= *b == b'"';
                *b == b'\n' && !quoted
            };
            let Some(end) = self.last.iter().position(ends) else { return Vec::new() };
            self.last.drain(..=end);
            self.skip_head = false;
        }
        let before_end = self.last.len().saturating_sub(1);
        let at = self
            .last
            .get(..before_end)
            .and_then(|l| l.iter().rposition(|b| *b == b'\n'))
            .map_or(0, |at| at + 1);
        self.last.drain(..at).collect()
    }

    /// Of a last line that says where the next page begins.
    fn cursor(&self) -> Option<String> {
        let line: Value =
            serde_json::from_slice(self.last.strip_prefix(b"{\"next\":").map(|_| &self.last)?).ok()?;
        line.get("next")?.as_str().map(str::to_string)
    }
}

impl Failure {
    pub(crate) fn hinted(mut self, hint: &str) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// One line of a progress stream: moves the bar, or ends the work.
fn event(line: &[u8], bar: &indicatif::ProgressBar) -> Result<Option<Value>, Failure> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let value: Value = serde_json::from_slice(line)
        .map_err(|e| Failure::plain(format!("the host answered what is not JSON: {e}")))?;
    if let Some(problem) = value.get("error") {
        bar.finish_and_clear();
        return Err(Failure::problem(problem));
    }
    if let Some(progress) = value.get("progress") {
        let number = |key: &str| progress.get(key).and_then(Value::as_u64);
        if let Some(total) = number("total").filter(|t| *t > 0) {
            bar.set_length(total);
        }
        if let Some(done) = number("done") {
            bar.set_position(done);
        }
        if let Some(text) = progress.get("text").and_then(Value::as_str).filter(|t| !t.is_empty()) {
            bar.set_message(text.to_string());
        }
        return Ok(None);
    }
    Ok(Some(value.get("result").cloned().unwrap_or(value)))
}

/// A request with or without JSON.
pub(crate) fn request(
    method: Method,
    path: &str,
    body: Option<&Value>,
    accept: &str,
) -> Result<Request<Body>, Failure> {
    let builder = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::ACCEPT, accept);
    match body {
        Some(json) => {
            builder.header(header::CONTENT_TYPE, "application/json").body(Body::from(json.to_string()))
        }
        None => builder.body(Body::empty()),
    }
    .map_err(|e| Failure::usage(format!("`{path}` is no address: {e}"), "give shorter names"))
}

/// A file as a body, read as it is sent.
pub(crate) async fn file_body(path: &Path) -> Result<Body, Failure> {
    let file = tokio::fs::File::open(path).await.map_err(|e| {
        Failure::plain(format!("{}: {e}", path.display())).hinted("name a file that exists and can be read")
    })?;
    Ok(body_of(file))
}

/// What a file or the standard input gives as a body, read as it is sent.
pub(crate) fn body_of(from: impl tokio::io::AsyncRead + Unpin + Send + 'static) -> Body {
    use tokio::io::AsyncReadExt as _;
    Body::from_stream(futures_util::stream::unfold(Some(from), |from| async {
        let mut from = from?;
        let mut part = vec![0; 256 << 10];
        match from.read(&mut part).await {
            Ok(0) => None,
            Ok(n) => {
                part.truncate(n);
                Some((Ok(part), Some(from)))
            }
            Err(e) => Some((Err(e), None)),
        }
    }))
}

/// The JSON of an answer.
pub(crate) async fn body_json(answer: Response<Body>) -> Result<Value, Failure> {
    let body = collect(answer.into_body()).await?;
    serde_json::from_slice(&body)
        .map_err(|e| Failure::plain(format!("the host answered what is not JSON: {e}")))
}

async fn collect(body: Body) -> Result<Vec<u8>, Failure> {
    let collected = http_body_util::Limited::new(body, ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|e| Failure::plain(format!("reading the host's answer: {e}")))?;
    Ok(collected.to_bytes().to_vec())
}

/// `path?key=value…` with everything escaped; pairs without a value are left out.
pub(crate) fn with_query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let query: Vec<String> =
        pairs.iter().filter_map(|(k, v)| v.as_ref().map(|v| format!("{k}={}", escape(v, false)))).collect();
    if query.is_empty() { path.into() } else { format!("{path}?{}", query.join("&")) }
}

/// One segment of a path.
pub(crate) fn segment(name: &str) -> String {
    escape(name, false)
}

/// A path of several segments: its slashes stay.
pub(crate) fn segments(path: &str) -> String {
    escape(path, true)
}

fn escape(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(char::from(b)),
            b'.' if text != "." && text != ".." => out.push('.'),
            b'/' if keep_slash => out.push('/'),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_printed_without_what_is_no_row() {
        let all = |skip_head: bool, parts: &[&str]| {
            let mut page = Page { skip_head, last: Vec::new() };
            let mut out: Vec<u8> = parts.iter().flat_map(|p| page.take(p.as_bytes())).collect();
            let cursor = page.cursor();
            if cursor.is_none() {
                out.extend(&page.last);
            }
            (String::from_utf8(out).unwrap(), cursor)
        };
        let rows = "{\"time\":1}\n{\"time\":2,\"next\":3}\n";
        assert_eq!(all(false, &[rows]), (rows.into(), None));
        let cut = format!("{rows}{{\"next\":\"0a\"}}\n");
        for at in 0..cut.len() {
            let (a, b) = cut.split_at(at);
            assert_eq!(all(false, &[a, b]), (rows.into(), Some("0a".into())), "{at}");
        }
        assert_eq!(all(false, &["{\"next\":\"0a\"}\n"]), (String::new(), Some("0a".into())));
        let csv = "time,\"a\nb\"\n1,2\n3,4\n";
        for at in 0..csv.len() {
            let (a, b) = csv.split_at(at);
            assert_eq!(all(true, &[a, b]), ("1,2\n3,4\n".into(), None), "{at}");
            assert_eq!(all(false, &[a, b]), (csv.into(), None), "{at}");
        }
        assert_eq!(all(true, &["time\n"]), (String::new(), None));
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(segment("a b/c"), "a%20b%2Fc");
        assert_eq!(segments("a b/ü"), "a%20b/%C3%BC");
        assert_eq!(with_query("/x", &[("a", Some("1&b=2".into())), ("c", None)]), "/x?a=1%26b%3D2");
        assert_eq!(with_query("/x", &[("c", None)]), "/x");
    }

    #[test]
    fn a_stream_ends_with_a_result_or_an_error() {
        let bar = indicatif::ProgressBar::hidden();
        assert_eq!(event(b"{\"progress\":{\"done\":1,\"total\":2}}", &bar).unwrap(), None);
        assert_eq!(event(b"{\"result\":{\"x\":1}}", &bar).unwrap(), Some(serde_json::json!({ "x": 1 })));
        assert_eq!(
            event(b"{\"error\":{\"code\":\"busy\",\"detail\":\"d\"}}", &bar).unwrap_err().code,
            "busy"
        );
        assert!(event(b"nonsense", &bar).is_err());
        assert_eq!(event(b"\n", &bar).unwrap(), None);
    }
}
