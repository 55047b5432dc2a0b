//! Who may come in. Loopback is open to every program and every web page on the machine: `Host` and `Origin` are
//! checked before anything else, then the token.

use super::problem::Problem;
use crate::app::App;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use shiphold_storage::{Caller, Error, Kind, Manifest};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What `web` checks against.
pub(super) struct Gate {
    hosts: Vec<String>,
    origins: Vec<String>,
    requests: Arc<Semaphore>,
    requests_max: u32,
}

impl Gate {
    pub(super) fn new(manifest: &Manifest) -> Self {
        let own = manifest.http.listen.ip();
        let own = if own.is_ipv6() { format!("[{own}]") } else { own.to_string() };
        let mut hosts = vec!["localhost".into(), "127.0.0.1".into(), "[::1]".into(), own];
        hosts.extend(manifest.http.allowed_hosts.iter().map(|h| h.to_ascii_lowercase()));
        let max = manifest.http.requests_max;
        Self { hosts, origins: manifest.http.allowed_origins.clone(), requests: Arc::new(Semaphore::new(max as usize)), requests_max: max }
    }

    /// A page of another site can make a browser send requests here, and by DNS rebinding even with that site's name
    /// as our own: neither its `Host` nor its `Origin` is one of ours.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
        let name = without_port(host).to_ascii_lowercase();
        if !self.hosts.contains(&name) {
            return Err(Error::denied(format!("the Host header `{}` is not a name of this host", host.escape_debug()))
                .hint("use 127.0.0.1 or localhost, or add the name to `http.allowed_hosts` in shiphold.toml"));
        }
        for origin in headers.get_all(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            if !self.origins.iter().any(|o| o == origin) {
                return Err(Error::denied(format!("a web page of `{}` may not call this host", origin.escape_debug()))
                    .hint("add the origin to `http.allowed_origins` in shiphold.toml if it may"));
            }
        }
        Ok(())
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

pub(super) async fn web(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    if let Err(e) = gate.check(request.headers()) {
        return Problem(e).into_response();
    }
    let Ok(_permit) = gate.requests.clone().try_acquire_owned() else {
        return Problem(
            Error::new(Kind::Busy, format!("{} requests are being served already", gate.requests_max))
                .hint("try again shortly, or raise `http.requests_max` in shiphold.toml"),
        )
        .into_response();
    };
    next.run(request).await
}

/// Over the socket comes the operator.
pub(super) async fn operator(State(_): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Caller::Operator);
    next.run(request).await
}

/// Over TCP comes a bearer.
pub(super) async fn token(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let is_influx = request.uri().path().starts_with("/api/v2/");
    let refuse = |e: Error| if is_influx { super::influx::refusal(&e) } else { Problem(e).into_response() };
    let Some(secret) = bearer(request.headers()) else {
        return refuse(
            Error::new(Kind::Unauthenticated, "this route needs a token")
                .hint("send `Authorization: Bearer TOKEN`; create one with `shiphold tokens create NAME`"),
        );
    };
    let layer = app.layer.clone();
    match super::blocking(move || layer.tokens().authenticate(&secret)).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(Problem(e)) => refuse(e),
    }
}

/// `Bearer X`, or InfluxDB's `Token X`.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
    (known && !secret.trim().is_empty()).then(|| secret.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn names_of_this_host_and_of_others() {
        let manifest = Manifest::parse("[http]\nallowed_hosts = [\"trader.local\"]\nallowed_origins = [\"https://ok.example\"]", std::path::Path::new("/m.toml")).unwrap();
        let gate = Gate::new(&manifest);
        let ask = |host: &str, origin: Option<&str>| {
            let mut h = HeaderMap::new();
            h.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            if let Some(o) = origin {
                h.insert(header::ORIGIN, HeaderValue::from_str(o).unwrap());
            }
            gate.check(&h).is_ok()
        };
        for host in ["localhost", "LOCALHOST:8087", "127.0.0.1:1", "[::1]:8087", "[::1]", "trader.local:80"] {
            assert!(ask(host, None), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8087", "", "::1", "localhost:evil"] {
            assert!(!ask(host, None), "{host}");
        }
        assert!(gate.check(&HeaderMap::new()).is_err());
        assert!(ask("localhost", Some("https://ok.example")));
        for origin in ["https://evil.example", "null", "http://ok.example", "https://ok.example.evil"] {
            assert!(!ask("localhost", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn both_schemes() {
        let of = |v: &str| {
            let mut h = HeaderMap::new();
            h.insert(header::AUTHORIZATION, HeaderValue::from_str(v).unwrap());
            bearer(&h)
        };
        assert_eq!(of("Token abc").as_deref(), Some("abc"));
        assert_eq!(of("bearer abc ").as_deref(), Some("abc"));
        for bad in ["Basic abc", "Token", "Token  ", "abc"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
