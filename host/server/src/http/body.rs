//! Bodies in and out: bounded JSON and bytes, streams to and from blocking readers.

use super::problem::Problem;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use shiphold_storage::{Error, Kind};
use std::io::{self, Read};
use std::time::Duration;
use tokio::sync::mpsc;

/// The longest that one part of a body may take to come.
pub(super) const BODY_WAIT_MAX: Duration = Duration::from_secs(60);
/// Parts of a stream under way.
const PARTS_AHEAD: usize = 8;
/// Bytes of one part of an answer.
const PART_BYTES: usize = 256 << 10;

/// A body that has been read whole, at most `http.body_max`.
pub(super) struct Whole(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Whole {
    type Rejection = Problem;
    async fn from_request(req: Request, state: &S) -> Result<Self, Problem> {
        let read = tokio::time::timeout(BODY_WAIT_MAX, Bytes::from_request(req, state)).await;
        match read {
            Ok(Ok(bytes)) => Ok(Self(bytes)),
            Ok(Err(e)) if e.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE => Err(Problem(too_large())),
            Ok(Err(e)) => Err(Problem(Error::invalid(format!("the body did not come whole: {}", e.body_text())))),
            Err(_) => Err(Problem(Error::new(Kind::Timeout, format!("the body took longer than {BODY_WAIT_MAX:?}")).hint("send smaller batches"))),
        }
    }
}

pub(super) fn too_large() -> Error {
    Error::new(Kind::Limit, "the body exceeds `http.body_max`").hint("send smaller batches, or raise `http.body_max` in shiphold.toml")
}

/// A JSON body. Its type is not asked for: `curl --data` sends another.
pub(super) struct Input<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Input<T> {
    type Rejection = Problem;
    async fn from_request(req: Request, state: &S) -> Result<Self, Problem> {
        let Whole(bytes) = Whole::from_request(req, state).await?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|e| Problem(Error::invalid(format!("the body is not the JSON that this route takes: {e}")).hint("docs/http.md shows each route's body")))
    }
}

/// The query string, with an error in our own form.
pub(super) struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|q: axum::extract::Query<T>| Self(q.0))
            .map_err(|e| Problem(Error::invalid(format!("the query string is wrong: {}", e.body_text())).hint("docs/http.md shows each route's parameters")))
    }
}

/// A body as a reader for a blocking thread. It ends with an error when the client goes away, so that half of a file
/// is never taken for a whole one.
pub(super) fn reader(body: Body) -> impl Read + Send + 'static {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(PARTS_AHEAD);
    tokio::spawn(async move {
        let mut stream = body.into_data_stream();
        loop {
            let part = match tokio::time::timeout(BODY_WAIT_MAX, stream.next()).await {
                Ok(None) => return,
                Ok(Some(Ok(bytes))) => Ok(bytes),
                Ok(Some(Err(e))) => Err(io::Error::other(format!("the client went away: {e}"))),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {BODY_WAIT_MAX:?}"))),
            };
            let last = part.is_err();
            if sender.send(part).await.is_err() || last {
                return;
            }
        }
    });
    Reader { receiver, rest: Bytes::new() }
}

struct Reader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(part) => self.rest = part?,
            }
        }
        let n = buffer.len().min(self.rest.len());
        let part = self.rest.split_to(n);
        if let Some(to) = buffer.get_mut(..n) {
            to.copy_from_slice(&part);
        }
        Ok(n)
    }
}

/// A blocking reader as a body. An error in the middle ends the connection, so that the client sees it.
pub(super) fn stream(mut from: Box<dyn Read + Send>) -> Body {
    let (sender, receiver) = mpsc::channel::<io::Result<Vec<u8>>>(PARTS_AHEAD);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut part = vec![0; PART_BYTES];
            let part = match from.read(&mut part) {
                Ok(0) => return,
                Ok(n) => {
                    part.truncate(n);
                    Ok(part)
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
            let last = part.is_err();
            if let Err(e) = &part {
                tracing::error!(error = %e, "reading what a client asked for");
            }
            // A client that went away needs no more.
            if sender.blocking_send(part).is_err() || last {
                return;
            }
        }
    });
    Body::from_stream(futures_util::stream::unfold(receiver, |mut r| async { r.recv().await.map(|part| (part, r)) }))
}
