//! Bodies of requests: bounded in bytes (also after gzip) and in time, whole or as a blocking reader.

use super::problem::Problem;
use crate::app::App;
use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use shiphold_storage::Kind;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a client may be silent within a body.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a body that is held whole may take.
const WHOLE_TIME_MAX: Duration = Duration::from_secs(300);
/// Bytes set aside at once for a body, whatever its length is said to be.
const FIRST_BYTES_MAX: usize = 16 << 20;

/// A body as it came, within its bound.
#[derive(Debug)]
pub(crate) struct Raw {
    bytes: Bytes,
    gzip: bool,
    max: u64,
}

impl Raw {
    /// Reads the body of a request.
    pub(crate) async fn read(headers: &HeaderMap, mut body: Body, max: u64) -> Result<Self, Problem> {
        let gzip = is_gzip(headers)?;
        let announced = body.size_hint().lower();
        if announced > max {
            return Err(too_large(max));
        }
        let deadline = Instant::now() + WHOLE_TIME_MAX;
        let mut first: Option<Bytes> = None;
        let mut all = BytesMut::new();
        loop {
            let silence = deadline.min(Instant::now() + SILENCE_MAX);
            let frame = match timeout_at(silence, body.frame()).await {
                Err(_) => return Err(silent()),
                Ok(None) => break,
                Ok(Some(Err(e))) => return Err(Problem::invalid(format!("the body ended early: {e}"))),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            let so_far = first.as_ref().map_or(all.len(), Bytes::len);
            if so_far as u64 + data.len() as u64 > max {
                return Err(too_large(max));
            }
            // A body of one piece is used where it lies; more pieces are put together once.
            match first.take() {
                None if all.is_empty() => first = Some(data),
                None => all.extend_from_slice(&data),
                Some(before) => {
                    let whole = usize::try_from(announced).unwrap_or(usize::MAX).min(FIRST_BYTES_MAX);
                    all.reserve(whole.max(before.len() + data.len()));
                    all.extend_from_slice(&before);
                    all.extend_from_slice(&data);
                }
            }
        }
        Ok(Self { bytes: first.unwrap_or_else(|| all.freeze()), gzip, max })
    }

    /// The content. It may take long when it is compressed: call it on a blocking thread.
    pub(crate) fn content(self) -> Result<Bytes, Problem> {
        if !self.gzip {
            return Ok(self.bytes);
        }
        let mut out = Vec::with_capacity(self.bytes.len().saturating_mul(4).min(FIRST_BYTES_MAX));
        flate2::read::MultiGzDecoder::new(self.bytes.as_ref())
            .take(self.max.saturating_add(1))
            .read_to_end(&mut out)
            .map_err(|e| Problem::invalid(format!("the body is not gzip: {e}")))?;
        if out.len() as u64 > self.max {
            return Err(too_large(self.max));
        }
        Ok(out.into())
    }
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Problem> {
    match headers.get(header::CONTENT_ENCODING).map(|v| v.as_bytes().trim_ascii()) {
        None => Ok(false),
        Some(v) if v.is_empty() || v.eq_ignore_ascii_case(b"identity") => Ok(false),
        Some(v) if v.eq_ignore_ascii_case(b"gzip") => Ok(true),
        Some(v) => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            format!("the encoding `{}` of the body is unknown", String::from_utf8_lossy(v).escape_debug()),
        )
        .hint("send it as it is, or with `Content-Encoding: gzip`")),
    }
}

pub(crate) fn too_large(max: u64) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Limit.code(),
        format!("the body exceeds the limit of {max} bytes"),
    )
    .hint("send smaller batches, or raise `http.body_max` in shiphold.toml")
}

fn silent() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", "the body did not come in time")
        .hint("send it faster, or in smaller parts")
}

/// The `Content-Type`, in small letters and without what follows it.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let kind = String::from_utf8_lossy(headers.get(header::CONTENT_TYPE)?.as_bytes()).to_ascii_lowercase();
    Some(kind.split(';').next().unwrap_or_default().trim().to_string())
}

/// A body in JSON; an empty one counts as `{}`.
#[derive(Debug)]
pub(crate) struct Input<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Input<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if let Some(kind) = media_type(&parts.headers) {
            if kind != "application/json" && !kind.ends_with("+json") {
                return Err(Problem::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "unsupported-media-type",
                    format!("this route takes JSON, not `{}`", kind.escape_debug()),
                )
                .hint("send `Content-Type: application/json`"));
            }
        }
        let content = Raw::read(&parts.headers, body, app.body_max()).await?.content()?;
        let text: &[u8] = if content.is_empty() { b"{}" } else { &content };
        serde_json::from_slice(text).map(Self).map_err(|e| {
            Problem::invalid(format!("the body is not what this route takes: {e}"))
                .hint("docs/http.md shows the body of every route")
        })
    }
}

/// The query part of an address.
#[derive(Debug)]
pub(crate) struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri).map(|q| Self(q.0)).map_err(|e| {
            Problem::invalid(format!("the address has a wrong parameter: {}", e.body_text()))
                .hint("docs/http.md shows the parameters of every route")
        })
    }
}

/// The names in the path of an address, decoded.
#[derive(Debug)]
pub(crate) struct Names<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Names<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::<T>::from_request_parts(parts, state)
            .await
            .map(|p| Self(p.0))
            .map_err(|e| Problem::invalid(format!("the path cannot be read: {}", e.body_text())))
    }
}

/// A body as a blocking reader, for uploads that are not held in memory. Use it on a blocking thread only.
pub(crate) struct BodyReader {
    runtime: Handle,
    body: Body,
    rest: Bytes,
    left: u64,
    /// Readers ask again after the end, which bodies need not bear.
    ended: bool,
}

impl BodyReader {
    /// Reads at most `max` bytes; one more is an error.
    pub(crate) fn new(body: Body, max: u64) -> Self {
        Self { runtime: Handle::current(), body, rest: Bytes::new(), left: max, ended: false }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            if self.ended {
                return Ok(0);
            }
            let next = self.runtime.block_on(async { timeout(SILENCE_MAX, self.body.frame()).await });
            match next {
                Err(_) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the body did not come in time"));
                }
                Ok(None) => self.ended = true,
                Ok(Some(Err(e))) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        format!("the body ended early: {e}"),
                    ));
                }
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.left = self.left.checked_sub(data.len() as u64).ok_or_else(|| {
                            io::Error::new(io::ErrorKind::FileTooLarge, "the body exceeds its limit")
                        })?;
                        self.rest = data;
                    }
                }
            }
        }
        let n = self.rest.len().min(buffer.len());
        let part = self.rest.split_to(n);
        if let Some(to) = buffer.get_mut(..n) {
            to.copy_from_slice(&part);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gz(content: &[u8]) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gz.write_all(content).unwrap();
        gz.finish().unwrap()
    }

    fn headers(encoding: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !encoding.is_empty() {
            headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        }
        headers
    }

    async fn read(encoding: &str, body: Vec<u8>, max: u64) -> Result<Bytes, Problem> {
        Raw::read(&headers(encoding), Body::from(body), max).await?.content()
    }

    #[tokio::test]
    async fn the_bound_holds_at_its_edge_before_and_after_gzip() {
        assert_eq!(read("", vec![1; 100], 100).await.unwrap().len(), 100);
        assert_eq!(read("", vec![1; 101], 100).await.unwrap_err().status, 413);
        assert_eq!(read("gzip", gz(&[1; 100]), 100).await.unwrap().len(), 100);
        assert_eq!(read("GZIP", gz(&[1; 101]), 100).await.unwrap_err().status, 413);
        // A bomb: a small body that becomes large is stopped at the bound.
        let bomb = gz(&vec![0; 32 << 20]);
        assert!(bomb.len() < 64 << 10);
        assert_eq!(read("gzip", bomb, 64 << 10).await.unwrap_err().status, 413);
        assert_eq!(read("gzip", b"not gzip".to_vec(), 100).await.unwrap_err().status, 400);
        assert_eq!(read("br", vec![], 100).await.unwrap_err().status, 415);
        assert_eq!(read("identity", vec![1], 100).await.unwrap().len(), 1);
    }

    fn pieces(pieces: &[&'static str]) -> Body {
        let pieces: Vec<Result<Bytes, io::Error>> =
            pieces.iter().map(|p| Ok(Bytes::from_static(p.as_bytes()))).collect();
        Body::from_stream(futures_util::stream::iter(pieces))
    }

    #[tokio::test]
    async fn pieces_are_put_together_and_counted() {
        let whole =
            Raw::read(&HeaderMap::new(), pieces(&["ab", "", "cd", "e"]), 5).await.unwrap().content().unwrap();
        assert_eq!(whole, "abcde");
        assert_eq!(
            Raw::read(&HeaderMap::new(), pieces(&["ab", "cd", "e"]), 4).await.unwrap_err().status,
            413
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_not_waited_for() {
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, io::Error>>());
        assert_eq!(Raw::read(&HeaderMap::new(), body, 5).await.unwrap_err().status, 408);
    }

    #[tokio::test]
    async fn a_reader_gives_all_and_stops_at_its_bound() {
        let read = |max| async move {
            let mut reader = BodyReader::new(pieces(&["ab", "", "cde"]), max);
            tokio::task::spawn_blocking(move || {
                let mut out = String::new();
                reader.read_to_string(&mut out).map(|_| out)
            })
            .await
            .unwrap()
        };
        assert_eq!(read(5).await.unwrap(), "abcde");
        assert_eq!(read(4).await.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reader_may_be_asked_again_after_the_end() {
        let parts = futures_util::stream::unfold(Some(()), |left| async move {
            left.map(|()| (Ok::<_, io::Error>("abc"), None))
        });
        let mut reader = BodyReader::new(Body::from_stream(parts), 3);
        let got = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            (all, reader.read(&mut [0; 8]).unwrap())
        });
        assert_eq!(got.await.unwrap(), (b"abc".to_vec(), 0));
    }
}
