//! `http`: what a plugin may send, and where it really goes.
//!
//! A request must be covered by an entry of the effective grant. Its host name is resolved once, by [`Checked`], while the
//! connection is made: the addresses that are looked at are those that are connected to, so a name that answers differently
//! the next time gains nothing. Redirects are handed to the guest, whose next request is looked at like any other.

use super::error::{Guest, to_guest};
use crate::bindings::shiphold::host::http::{Host, Request, Response};
use crate::state::State;
use shiphold_storage::http_grant::Destination;
use shiphold_storage::{Caller, Error, Kind, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::http::{self, HeaderName, HeaderValue, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// Bytes of a URL.
const URL_BYTES_MAX: usize = 8 << 10;
/// Headers of a request, and the bytes of their names and values.
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Bytes of the head of an answer.
const ANSWER_HEAD_BYTES_MAX: usize = 64 << 10;
/// Connections that a plugin keeps open between its requests, and for how long.
const IDLE_CONNECTIONS_MAX: usize = 4;
const IDLE: Duration = Duration::from_secs(15);

/// Headers that the host sets itself, or that would turn a request into two.
const NOT_THE_GUESTS: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

/// The way out of one plugin: its connections are its own.
#[derive(Debug, Clone)]
pub(crate) struct Door(Arc<ureq::Agent>);

impl Default for Door {
    fn default() -> Self {
        Self::with(DefaultResolver::default())
    }
}

impl Door {
    fn with(resolver: impl Resolver) -> Self {
        let config = ureq::config::Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // What the environment names as a proxy would see what was granted to another host.
            .proxy(None)
            .user_agent("shiphold")
            .accept_encoding("")
            .max_response_header_size(ANSWER_HEAD_BYTES_MAX)
            .max_idle_connections(IDLE_CONNECTIONS_MAX)
            .max_idle_connections_per_host(IDLE_CONNECTIONS_MAX)
            .max_idle_age(IDLE)
            .build();
        let checked = Checked(Box::new(resolver));
        Self(Arc::new(ureq::Agent::with_parts(config, DefaultConnector::default(), checked)))
    }

    /// One exchange, before `deadline`; the answer's body has at most `body_max` bytes.
    fn send(&self, request: Request, uri: &Uri, deadline: Instant, body_max: u64) -> Result<Response> {
        let with_body = !request.body.is_empty() || matches!(request.method.as_str(), "PUT" | "POST");
        let mut builder = http::Request::builder().method(request.method.as_str()).uri(uri.clone());
        for (name, value) in headers(&request.headers)? {
            builder = builder.header(name, value);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let wrong = |e: http::Error| Error::invalid(format!("the request: {e}"));
        let place = uri.host().unwrap_or_default();
        // The body only where there is one: a GET with an empty one is refused by some servers.
        let sent = if with_body {
            let request = builder.body(request.body).map_err(wrong)?;
            self.0.run(self.0.configure_request(request).timeout_global(Some(left)).build())
        } else {
            let request = builder.body(()).map_err(wrong)?;
            self.0.run(self.0.configure_request(request).timeout_global(Some(left)).build())
        };
        let mut answer = sent.map_err(|e| failed(e, place, body_max))?;
        let body = answer
            .body_mut()
            .with_config()
            .limit(body_max)
            .read_to_vec()
            .map_err(|e| failed(e, place, body_max))?;
        let headers = answer.headers().iter();
        let headers = headers
            .map(|(name, value)| {
                // Bytes beyond ASCII are Latin-1 by the old rule.
                let latin = || value.as_bytes().iter().map(|b| char::from(*b)).collect();
                (
                    name.to_string(),
                    std::str::from_utf8(value.as_bytes()).map_or_else(|_| latin(), str::to_string),
                )
            })
            .collect();
        Ok(Response { status: answer.status().as_u16(), headers, body })
    }
}

/// Looks at the addresses of a name while the connection is made.
#[derive(Debug)]
struct Checked(Box<dyn Resolver>);

impl Resolver for Checked {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> std::result::Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        let found = self.0.resolve(uri, config, timeout)?;
        // One forbidden address is enough: a name that points inside as well is not what the operator meant.
        match found.iter().map(SocketAddr::ip).find(|ip| !may_reach(&host, *ip)) {
            None => Ok(found),
            Some(ip) => Err(ureq::Error::Other(Box::new(Inside { host, ip }))),
        }
    }
}

/// A name that points where no plugin may go.
#[derive(Debug)]
struct Inside {
    host: String,
    ip: IpAddr,
}

impl std::fmt::Display for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` is {}, which is no public address", self.host, self.ip)
    }
}

impl std::error::Error for Inside {}

/// Public addresses, and those that the grant named itself: the host of a request is the host of a grant's entry, so an
/// address stands there only where the operator wrote it.
fn may_reach(host: &str, ip: IpAddr) -> bool {
    if let Ok(named) = host.parse::<IpAddr>() {
        return named == ip;
    }
    if host == "localhost" {
        return ip.is_loopback();
    }
    is_public(ip)
}

/// By the registries of special-purpose addresses (RFC 6890 and what IANA added since).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => {
            let s = v6.segments();
            // NAT64: what it leads to must be public.
            if s[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
                let [.., a, b, c, d] = v6.octets();
                return is_public_v4(Ipv4Addr::new(a, b, c, d));
            }
            // Of all the rest only global unicast, without what carries an IPv4 address (Teredo, 6to4) or is for documents.
            s[0] & 0xe000 == 0x2000
                && !(s[0] == 0x2001 && s[1] < 0x200)
                && !(s[0] == 0x2001 && s[1] == 0xdb8)
                && s[0] != 0x2002
                && !(s[0] == 0x3fff && s[1] < 0x1000)
                && v6 != Ipv6Addr::UNSPECIFIED
        }
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(a == 0
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
        || a >= 224)
}

/// Where a request goes, if the grants of a plugin cover it.
fn granted(caller: &Caller, method: &str, url: &str) -> Result<Uri> {
    if url.len() > URL_BYTES_MAX {
        return Err(Error::limit(
            "a URL",
            format!("{URL_BYTES_MAX} bytes"),
            "send long parameters in the body",
        ));
    }
    let shown = url.escape_debug();
    let uri: Uri = url.parse().map_err(|e| Error::invalid(format!("`{shown}` is no URL: {e}")))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Error::invalid(format!("`{shown}` has no scheme or no host")));
    };
    let wanted = Destination::parse(&format!("{method} {scheme}://{authority}")).ok_or_else(|| {
        Error::invalid(format!("`{} {shown}` goes nowhere that can be granted", method.escape_debug()))
            .hint("a request is GET, HEAD, POST, PUT or DELETE to http or https, a name or a plainly written address")
    })?;
    let Caller::Plugin { name, grants } = caller else { return Ok(uri) };
    if grants.http.iter().filter_map(|g| Destination::parse(g)).any(|g| g.covers(&wanted)) {
        return Ok(uri);
    }
    Err(Error::denied(format!(
        "plugin `{name}` has no `http` grant for {} {scheme}://{}:{}",
        wanted.method, wanted.host, wanted.port
    ))
    .hint("add an entry to `grants.http` of the plugin in shiphold.toml"))
}

fn headers(given: &[(String, String)]) -> Result<Vec<(HeaderName, HeaderValue)>> {
    if given.len() > HEADERS_MAX {
        return Err(Error::limit(format!("{} headers", given.len()), HEADERS_MAX, "send fewer"));
    }
    let bytes: usize = given.iter().map(|(n, v)| n.len() + v.len()).sum();
    if bytes > HEADER_BYTES_MAX {
        return Err(Error::limit("the headers", format!("{HEADER_BYTES_MAX} bytes"), "send shorter ones"));
    }
    given
        .iter()
        .map(|(name, value)| {
            let lower = name.to_ascii_lowercase();
            if NOT_THE_GUESTS.contains(&lower.as_str()) || lower.starts_with("proxy-") {
                return Err(Error::invalid(format!(
                    "the header `{}` is the host's to set",
                    name.escape_debug()
                )));
            }
            let wrong =
                |what: &str| Error::invalid(format!("`{}` is no {what} of a header", name.escape_debug()));
            let name = HeaderName::from_bytes(lower.as_bytes()).map_err(|_| wrong("name"))?;
            Ok((name, HeaderValue::from_str(value).map_err(|_| wrong("value"))?))
        })
        .collect()
}

fn failed(e: ureq::Error, host: &str, body_max: u64) -> Error {
    let at = |kind, what: String| Error::new(kind, format!("{host}: {what}"));
    match e {
        ureq::Error::Timeout(_) => at(Kind::Timeout, "no answer within the call's deadline".into()),
        ureq::Error::BodyExceedsLimit(_) => too_long(host, body_max),
        ureq::Error::HostNotFound => at(Kind::Unavailable, "there is no such host".into()),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => at(Kind::Unavailable, format!("no secure connection: {e}")),
        ureq::Error::Other(inner) if inner.is::<Inside>() => Error::denied(inner.to_string())
            .hint("an address of the host's own network must stand in the grant itself, such as `PUT http://10.0.0.5:9000`"),
        // Errors of reading a body come wrapped as such of input.
        ureq::Error::Io(io) => match io.downcast::<ureq::Error>() {
            Ok(inner) => failed(inner, host, body_max),
            Err(io) => at(Kind::Unavailable, io.to_string()),
        },
        other => at(Kind::Unavailable, other.to_string()),
    }
}

fn too_long(host: &str, body_max: u64) -> Error {
    Error::limit(
        format!("the answer of {host}"),
        format!("{body_max} bytes (limits.reply)"),
        "ask for less at once, or raise limits.reply of the plugin in shiphold.toml",
    )
}

impl Host for State {
    async fn send(&mut self, request: Request) -> wasmtime::Result<std::result::Result<Response, Guest>> {
        self.limiter.requests()?;
        let head: usize = request.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
        self.takes(request.url.len() + request.method.len() + head + request.body.len())?;
        let uri = match granted(&self.caller, &request.method, &request.url) {
            Ok(uri) => uri,
            Err(e) => return Ok(Err(to_guest(&e))),
        };
        let (door, deadline, body_max) = (self.door.clone(), self.deadline, self.limits.reply.0);
        let sent = self.blocking(move |_, _, _| door.send(request, &uri, deadline, body_max)).await?;
        if let Ok(answer) = &sent {
            let head: usize = answer.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
            self.gives(head + answer.body.len())?;
        }
        Ok(sent.map_err(|e| to_guest(&e)))
    }
}

#[cfg(test)]
mod tests;
