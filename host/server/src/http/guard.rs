//! Who may come in. Loopback is open to every program and to every web page on the machine: `Host` and `Origin` are
//! checked before anything else, then there must be room, then the token.

use super::problem::Problem;
use super::{Door, answer};
use crate::app::App;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::IntoResponse as _;
use hyper::body::{Frame, SizeHint};
use shiphold_storage::audit::RequestId;
use shiphold_storage::manifest::Http;
use shiphold_storage::{Caller, Error, Kind};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;

/// Bytes of a secret that is looked at; longer ones are nobody's.
const SECRET_BYTES_MAX: usize = 256;
/// Seconds for which a browser may remember what an origin may do.
const PREFLIGHT_S: u64 = 600;
/// Names a request in the audit trail and the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Where a request is answered without a token, and without a permit: a probe must learn that the host is busy.
const OPEN: [&str; 3] = ["/health", "/ping", "/ready"];
/// What an allowed web page may send and read.
const PAGE_SENDS: &str = "authorization, content-type, content-encoding, accept, range, if-none-match, x-request-id, x-shiphold-metadata, idempotency-key, last-event-id";
const PAGE_READS: &str = "etag, content-range, retry-after, x-request-id, x-shiphold-version, x-shiphold-revision, x-shiphold-saved-at, x-shiphold-metadata, x-influxdb-version";

/// What stands before the routes of one door.
#[derive(Clone)]
pub(super) struct Gate {
    pub app: Arc<App>,
    pub door: Door,
}

/// Counts and guards every request; the outermost layer.
pub(super) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response<Body> {
    let begin = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("none".into(), |p| p.as_str().to_string());
    let method = method_name(request.method());
    let is_influx = request.uri().path().starts_with("/api/v2/");
    let id = request_id(request.headers());
    let answer = answer::REQUEST.scope(id.clone(), enter(&gate, &route, request, next)).await;
    let mut answer = answer.unwrap_or_else(|problem| problem.into_response());
    if is_influx {
        if let Some(problem) = answer.extensions().get::<Problem>() {
            answer = problem.influx();
        }
    }
    // Nothing here is a page: whatever content says, no browser may take it for one.
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        answer.headers_mut().insert(REQUEST_ID, value);
    }
    let (status, took) = (answer.status().as_u16(), begin.elapsed());
    gate.app.counters.answered(&route, method, status, took);
    tracing::debug!(method, route, status, took_us = took.as_micros() as u64, %id, "request");
    answer
}

/// The id that the client chose, where it has the form of one; else a new one.
fn request_id(headers: &HeaderMap) -> RequestId {
    let chosen = headers.get(REQUEST_ID).and_then(|v| RequestId::new(v.to_str().ok()?).ok());
    chosen.unwrap_or_else(RequestId::random)
}

async fn enter(
    gate: &Gate,
    route: &str,
    mut request: Request,
    next: Next,
) -> Result<Response<Body>, Problem> {
    let app = &gate.app;
    let http = &app.layer.manifest().http;
    let refused = |why| {
        move |problem: Problem| {
            app.counters.refused(why);
            problem
        }
    };
    let mut origin = None;
    if gate.door == Door::Tcp {
        check_host(request.uri(), request.headers(), http).map_err(refused("host"))?;
        origin = check_origin(request.headers(), http).map_err(refused("origin"))?;
        if let (Some(origin), true) = (&origin, is_preflight(&request)) {
            return Ok(preflight(origin));
        }
    }
    let is_open = OPEN.contains(&route);
    let permit = if is_open { None } else { Some(room(app).map_err(refused("busy"))?) };
    let caller = match gate.door {
        Door::Socket => Some(Caller::Operator),
        Door::Tcp if is_open => None,
        Door::Tcp => Some(bearer(app, request.headers()).await.map_err(refused("token"))?),
    };
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    let mut answer = next.run(request).await;
    if let Some(origin) = origin {
        allow(answer.headers_mut(), &origin);
    }
    Ok(match permit {
        Some(permit) => answer.map(|body| Body::new(Held { body, _permit: permit })),
        None => answer,
    })
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// A page of another site can make a browser send requests here, by DNS rebinding even under a name of its own that
/// leads to this machine: then `Host` is that name.
fn check_host(uri: &Uri, headers: &HeaderMap, http: &Http) -> Result<(), Problem> {
    let named: Vec<_> = headers.get_all(header::HOST).iter().collect();
    let (name, one) = match (uri.authority(), named.as_slice()) {
        // A target in absolute form wins over the header (RFC 9112), and both must be ours.
        (Some(a), [h]) if h.as_bytes().eq_ignore_ascii_case(a.as_str().as_bytes()) => {
            (a.as_str().to_string(), true)
        }
        (None, [h]) => (String::from_utf8_lossy(h.as_bytes()).into_owned(), true),
        (a, all) => (format!("{a:?} {all:?}"), false),
    };
    if one && is_ours(&name, &http.allowed_hosts) {
        return Ok(());
    }
    let name: String = name.chars().take(100).collect();
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        Kind::Denied.code(),
        format!("the Host header `{}` is not a name of this host", name.escape_debug()),
    )
    .hint("use 127.0.0.1 or localhost, or add the name to `http.allowed_hosts` in shiphold.toml"))
}

/// `localhost`, a loopback address, or a name that the manifest allows; each with any port.
fn is_ours(host: &str, allowed: &[String]) -> bool {
    if allowed.iter().any(|a| a.eq_ignore_ascii_case(host)) {
        return true;
    }
    let name = match host.rsplit_once(':') {
        // The colons of a bare IPv6 address are no port; in a Host header it stands in brackets.
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) if !host.ends_with(']') => return false,
        _ => host,
    };
    if name.eq_ignore_ascii_case("localhost") || allowed.iter().any(|a| a.eq_ignore_ascii_case(name)) {
        return true;
    }
    let address = match name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => name.parse().ok().map(IpAddr::V4),
    };
    address.is_some_and(|a| a.to_canonical().is_loopback())
}

/// The origin of a web page, if it is one that may call.
fn check_origin(headers: &HeaderMap, http: &Http) -> Result<Option<HeaderValue>, Problem> {
    let mut found = None;
    for origin in headers.get_all(header::ORIGIN) {
        let known = http.allowed_origins.iter().any(|o| o.as_bytes().eq_ignore_ascii_case(origin.as_bytes()));
        if !known || found.is_some() {
            let name: String = String::from_utf8_lossy(origin.as_bytes()).chars().take(100).collect();
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                Kind::Denied.code(),
                format!("a web page of `{}` may not call this host", name.escape_debug()),
            )
            .hint("if it may, add the origin to `http.allowed_origins` in shiphold.toml"));
        }
        found = Some(origin.clone());
    }
    Ok(found)
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight(origin: &HeaderValue) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    let words = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PUT, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, PAGE_SENDS),
    ];
    for (name, value) in words {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_S));
    allow(headers, origin);
    answer
}

fn allow(headers: &mut HeaderMap, origin: &HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(PAGE_READS));
    headers.append(header::VARY, HeaderValue::from(HeaderName::from_static("origin")));
}

fn room(app: &Arc<App>) -> Result<Permit, Problem> {
    match app.requests.clone().try_acquire_owned() {
        Ok(permit) => {
            app.counters.in_flight.fetch_add(1, Ordering::Relaxed);
            Ok(Permit { app: app.clone(), _permit: permit })
        }
        Err(_) => {
            let max = app.layer.manifest().http.requests_max;
            Err(Error::new(Kind::Busy, format!("{max} requests are being served already"))
                .hint("try again shortly, or raise `http.requests_max` in shiphold.toml")
                .into())
        }
    }
}

/// Who bears the token of a request: `Bearer X`, or InfluxDB's `Token X`. What is wrong with a token is not said.
async fn bearer(app: &Arc<App>, headers: &HeaderMap) -> Result<Caller, Problem> {
    let Some(secret) = secret(headers) else {
        return Err(Error::new(Kind::Unauthenticated, "this route needs a token")
            .hint("send `Authorization: Bearer TOKEN`; create one with `shiphold tokens create NAME`")
            .into());
    };
    // Most come often: those that are known are let in without a thread of their own.
    if let Some(caller) = app.layer.tokens().known(&secret) {
        return Ok(caller);
    }
    answer::call(app, move |layer| layer.tokens().authenticate(&secret)).await
}

fn secret(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let (scheme, secret) = value.to_str().ok()?.trim().split_once(' ')?;
    let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
    let secret = secret.trim();
    (known && (1..=SECRET_BYTES_MAX).contains(&secret.len())).then(|| secret.to_string())
}

struct Permit {
    app: Arc<App>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.app.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that keeps its request's permit: what is still being sent is still being served.
struct Held {
    body: Body,
    _permit: Permit,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_host_and_of_others() {
        let allowed = ["trader.local".to_string(), "box:9000".to_string()];
        for host in [
            "localhost",
            "LOCALHOST:8087",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.9.9.9:80",
            "[::1]",
            "[::1]:8087",
            "[::ffff:127.0.0.1]:80",
            "trader.local",
            "Trader.Local:80",
            "box:9000",
        ] {
            assert!(is_ours(host, &allowed), "{host}");
        }
        for host in [
            "",
            ":",
            ":80",
            "evil.example",
            "evil.example:8087",
            "127.0.0.1.evil.example",
            "localhost.evil.example:8087",
            "localhost:evil",
            "localhost:",
            "localhost:80:80",
            "127.0.0.1@evil.example",
            "evil.example#localhost",
            "0.0.0.0",
            "192.168.0.1:8087",
            "::1",
            "[::2]",
            "[::1",
            "127.1",
            "2130706433",
            "box",
            "box:9001",
            "trader.local.evil",
        ] {
            assert!(!is_ours(host, &allowed), "{host}");
        }
    }

    fn http() -> Http {
        let text = "[http]\nallowed_hosts = [\"trader.local\"]\nallowed_origins = [\"https://ok.example\"]";
        shiphold_storage::Manifest::parse(text, std::path::Path::new("/m/shiphold.toml")).unwrap().http
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (k, v) in pairs {
            map.append(k, HeaderValue::from_bytes(v.as_bytes()).unwrap());
        }
        map
    }

    #[test]
    fn one_host_header_that_agrees_with_the_target() {
        let check = |target: &str, hosts: &[&str]| {
            let pairs: Vec<_> = hosts.iter().map(|h| (header::HOST, *h)).collect();
            check_host(&target.parse().unwrap(), &headers(&pairs), &http()).map_err(|p| p.status.as_u16())
        };
        assert_eq!(check("/ping", &["localhost:8087"]), Ok(()));
        assert_eq!(check("/ping", &[]), Err(403));
        assert_eq!(check("/ping", &["localhost", "localhost"]), Err(403));
        assert_eq!(check("/ping", &["localhost", "evil.example"]), Err(403));
        assert_eq!(check("http://localhost/ping", &["localhost"]), Ok(()));
        assert_eq!(check("http://evil.example/ping", &["localhost"]), Err(403));
        assert_eq!(check("http://evil.example/ping", &["evil.example"]), Err(403));
        assert_eq!(check("/ping", &["local\u{f6}host"]), Err(403));
    }

    #[test]
    fn origins_are_compared_whole() {
        let check = |origins: &[&str]| {
            let pairs: Vec<_> = origins.iter().map(|o| (header::ORIGIN, *o)).collect();
            check_origin(&headers(&pairs), &http()).map(|o| o.is_some()).map_err(|p| p.status.as_u16())
        };
        assert_eq!(check(&[]), Ok(false));
        assert_eq!(check(&["https://ok.example"]), Ok(true));
        for bad in [
            "https://evil.example",
            "null",
            "",
            "http://ok.example",
            "https://ok.example.evil",
            "https://ok.example:8443",
        ] {
            assert_eq!(check(&[bad]), Err(403), "{bad}");
        }
        assert_eq!(check(&["https://ok.example", "https://ok.example"]), Err(403));
    }

    #[test]
    fn both_schemes_of_a_token() {
        let of = |v: &str| secret(&headers(&[(header::AUTHORIZATION, v)]));
        assert_eq!(of("Token abc").as_deref(), Some("abc"));
        assert_eq!(of("bearer  abc ").as_deref(), Some("abc"));
        let longest = "x".repeat(SECRET_BYTES_MAX);
        assert_eq!(of(&format!("Bearer {longest}")), Some(longest.clone()));
        for bad in
            ["Basic abc", "Token", "Token  ", "abc", "", "Bearer \u{e9}", &format!("Bearer {longest}x")]
        {
            assert_eq!(of(bad), None, "{bad}");
        }
        let two = headers(&[(header::AUTHORIZATION, "Bearer a"), (header::AUTHORIZATION, "Bearer b")]);
        assert_eq!(secret(&two), None);
    }
}
