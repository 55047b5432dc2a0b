//! Errors as problem documents (RFC 9457), or in InfluxDB's form on its routes.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};
use shiphold_storage::{Error, Kind};

/// Seconds after which a client may try again when the host is busy.
const RETRY_BUSY_S: u64 = 1;
/// Seconds after which a client may try again when the disk is full or InfluxDB is away.
const RETRY_STORE_S: u64 = 30;

/// A refusal: what a handler gives back in place of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub detail: String,
    pub hint: Option<String>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a handler gives.
pub(crate) type Answer = Result<Response<Body>, Problem>;

/// The status of each kind of error.
pub(crate) const fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict | Kind::Incompatible => StatusCode::CONFLICT,
        Kind::Limit => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::PartialWrite => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Unavailable => StatusCode::BAD_GATEWAY,
        Kind::Busy | Kind::ReadOnly | Kind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Kind::Full => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Corrupt | Kind::Io | Kind::Plugin | Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), hint: None, headers: Vec::new() }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Kind::Invalid.code(), detail)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    #[must_use]
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// The problem document.
    pub(crate) fn document(&self) -> Value {
        let mut map = Map::new();
        map.insert("type".into(), json!("about:blank"));
        map.insert("title".into(), json!(self.status.canonical_reason().unwrap_or("Error")));
        map.insert("status".into(), json!(self.status.as_u16()));
        map.insert("code".into(), json!(self.code));
        map.insert("detail".into(), json!(self.detail));
        if let Some(hint) = &self.hint {
            map.insert("hint".into(), json!(hint));
        }
        Value::Object(map)
    }

    /// The same refusal as InfluxDB would say it: `{"code","message"}`.
    pub(crate) fn influx(&self) -> Response<Body> {
        // InfluxDB's clients send a batch again on 503 and give up on what they do not know.
        let (status, code) = match self.status {
            StatusCode::BAD_REQUEST => (self.status, "invalid"),
            StatusCode::UNAUTHORIZED => (self.status, "unauthorized"),
            StatusCode::FORBIDDEN => (self.status, "forbidden"),
            StatusCode::NOT_FOUND => (self.status, "not found"),
            StatusCode::METHOD_NOT_ALLOWED => (self.status, "method not allowed"),
            StatusCode::CONFLICT => (self.status, "conflict"),
            StatusCode::PAYLOAD_TOO_LARGE => (self.status, "request too large"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => (self.status, "invalid"),
            // A name that is taken.
            StatusCode::UNPROCESSABLE_ENTITY if self.code == Kind::Conflict.code() => {
                (self.status, "conflict")
            }
            StatusCode::UNPROCESSABLE_ENTITY => (self.status, "unprocessable entity"),
            StatusCode::REQUEST_TIMEOUT
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::INSUFFICIENT_STORAGE
            | StatusCode::BAD_GATEWAY
            | StatusCode::GATEWAY_TIMEOUT => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        };
        let message = match &self.hint {
            Some(hint) => format!("{} ({hint})", self.detail),
            None => self.detail.clone(),
        };
        self.answer(status, "application/json", &json!({ "code": code, "message": message }))
    }

    fn answer(&self, status: StatusCode, media_type: &'static str, body: &Value) -> Response<Body> {
        let mut answer = Response::new(Body::from(body.to_string()));
        *answer.status_mut() = status;
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        for (name, value) in &self.headers {
            answer.headers_mut().insert(name, value.clone());
        }
        answer
    }
}

impl From<Error> for Problem {
    fn from(e: Error) -> Self {
        Self::from(&e)
    }
}

impl From<&Error> for Problem {
    fn from(e: &Error) -> Self {
        if matches!(e.kind(), Kind::Internal | Kind::Io | Kind::Corrupt) {
            tracing::error!(error = ?e, "a request failed");
        }
        let problem = Self {
            status: status_of(e.kind()),
            code: e.code(),
            detail: e.message().into(),
            hint: e.hint_text().map(str::to_string),
            headers: Vec::new(),
        };
        match e.kind() {
            Kind::Busy => problem.retry_after(RETRY_BUSY_S),
            Kind::ReadOnly | Kind::Full | Kind::Unavailable => problem.retry_after(RETRY_STORE_S),
            Kind::Unauthenticated => {
                problem.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            _ => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut answer = self.answer(self.status, "application/problem+json", &self.document());
        // The outermost layer knows the route and may say it in another form.
        answer.extensions_mut().insert(self);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status() {
        for (kind, status) in [
            (Kind::Invalid, 400),
            (Kind::Unauthenticated, 401),
            (Kind::Denied, 403),
            (Kind::NotFound, 404),
            (Kind::Conflict, 409),
            (Kind::Incompatible, 409),
            (Kind::Limit, 413),
            (Kind::PartialWrite, 422),
            (Kind::Corrupt, 500),
            (Kind::Io, 500),
            (Kind::Plugin, 500),
            (Kind::Internal, 500),
            (Kind::Unavailable, 502),
            (Kind::Busy, 503),
            (Kind::ReadOnly, 503),
            (Kind::Cancelled, 503),
            (Kind::Timeout, 504),
            (Kind::Full, 507),
        ] {
            let problem = Problem::from(Error::new(kind, "what").hint("next"));
            assert_eq!(problem.status.as_u16(), status, "{kind:?}");
            let document = problem.document();
            assert_eq!(document["code"], kind.code());
            assert_eq!((&document["detail"], &document["hint"]), (&json!("what"), &json!("next")));
            assert_eq!(document["status"], status);
        }
    }

    #[test]
    fn a_client_of_influxdb_sends_again_what_may_succeed_later() {
        for (kind, status, again) in [
            (Kind::ReadOnly, 503, true),
            (Kind::Full, 503, true),
            (Kind::Busy, 503, true),
            (Kind::Unavailable, 503, true),
            (Kind::Timeout, 503, false),
            (Kind::Invalid, 400, false),
            (Kind::PartialWrite, 422, false),
            (Kind::Limit, 413, false),
            (Kind::Corrupt, 500, false),
        ] {
            let answer = Problem::from(Error::new(kind, "what")).influx();
            assert_eq!(answer.status().as_u16(), status, "{kind:?}");
            assert_eq!(answer.headers().contains_key(header::RETRY_AFTER), again, "{kind:?}");
        }
    }
}
