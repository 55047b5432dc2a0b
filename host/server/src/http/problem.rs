//! Errors as RFC 9457 problem documents with a stable code and the next step.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use shiphold_storage::{Error, Kind};

/// An error on its way out.
#[derive(Debug)]
pub(crate) struct Problem(pub Error);

impl From<Error> for Problem {
    fn from(e: Error) -> Self {
        Self(e)
    }
}

/// Seconds after which it may be worth trying again.
pub(crate) const RETRY_AFTER_S: u64 = 5;

pub(crate) fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::PartialWrite => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict | Kind::Incompatible => StatusCode::CONFLICT,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Limit => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Busy | Kind::ReadOnly | Kind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Full => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Unavailable => StatusCode::BAD_GATEWAY,
        Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Kind::Corrupt | Kind::Io | Kind::Plugin | Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl Problem {
    pub(crate) fn document(&self) -> Value {
        let status = status(self.0.kind());
        json!({
            "type": format!("urn:shiphold:{}", self.0.code()),
            "title": status.canonical_reason().unwrap_or("error"),
            "status": status.as_u16(),
            "code": self.0.code(),
            "detail": self.0.message(),
            "hint": self.0.hint_text(),
        })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if status(self.0.kind()).is_server_error() {
            tracing::warn!(error = ?self.0, "a request failed");
        }
        let mut response = (status(self.0.kind()), Json(self.document())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        decorate(self.0.kind(), headers);
        response
    }
}

/// Headers that go with a kind of error.
pub(crate) fn decorate(kind: Kind, headers: &mut axum::http::HeaderMap) {
    match kind {
        Kind::Unauthenticated => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"shiphold\""));
        }
        Kind::Busy | Kind::ReadOnly | Kind::Full => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        _ => {}
    }
}
