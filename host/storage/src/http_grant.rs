//! Entries of `grants.http`: a method and where it may go.
//!
//! `GET api.example.com` is HTTPS on port 443; `PUT api.example.com:8443` names a port; `PUT http://127.0.0.1:9000` is plain HTTP.
//! A host is a name, an IPv4 address, an IPv6 address in brackets, or `*.example.com` for the names below one.

use std::net::IpAddr;

/// Methods that a plugin can be granted.
pub const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "PUT", "DELETE"];

/// One entry, or where one request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub method: String,
    pub https: bool,
    /// Lower case; an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
}

impl Destination {
    /// `METHOD [http://]HOST[:PORT]`; `None`: it is not one.
    pub fn parse(entry: &str) -> Option<Self> {
        let (method, place) = entry.split_once(' ')?;
        let (https, authority) = match place.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return None,
            None => (true, place),
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                (
                    address,
                    after
                        .strip_prefix(':')
                        .map_or_else(|| after.is_empty().then_some(None), |p| Some(Some(p)))?,
                )
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            // `+80` is a number to a parser, and no port.
            Some(p) if p.bytes().all(|b| b.is_ascii_digit()) => p.parse().ok().filter(|p| *p > 0)?,
            Some(_) => return None,
            None if https => 443,
            None => 80,
        };
        let host = host.to_ascii_lowercase();
        let named = host.strip_prefix("*.").unwrap_or(&host);
        (METHODS.contains(&method) && is_host(named)).then(|| Self {
            method: method.into(),
            https,
            host,
            port,
        })
    }

    /// Does an entry cover a request?
    pub fn covers(&self, request: &Self) -> bool {
        let host = match self.host.strip_prefix('*') {
            // A star stands for names: an address has none below it.
            Some(suffix) => {
                request.host.parse::<IpAddr>().is_err()
                    && request.host.len() > suffix.len()
                    && request.host.ends_with(suffix)
            }
            None => self.host == request.host,
        };
        host && self.method == request.method && self.https == request.https && self.port == request.port
    }
}

/// An entry of a `plugin.toml`: a destination, or `METHOD *`, which asks for whichever hosts the operator gives.
enum Asked {
    Any(String),
    One(Destination),
}

impl Asked {
    fn parse(entry: &str) -> Option<Self> {
        match entry.strip_suffix(" *") {
            Some(method) => METHODS.contains(&method).then(|| Self::Any(method.into())),
            None => Destination::parse(entry).map(Self::One),
        }
    }
}

/// What is both asked for and given: of each pair the narrower. Not by their text: as a glob `GET *.example.com` would cover
/// `GET http://a.example.com`, which is no TLS. What cannot be read gives nothing.
pub(crate) fn meet(asked: &[String], given: &[String]) -> Vec<String> {
    let given: Vec<(&String, Destination)> =
        given.iter().filter_map(|g| Some((g, Destination::parse(g)?))).collect();
    let mut out = Vec::new();
    for entry in asked {
        let Some(want) = Asked::parse(entry) else { continue };
        for (text, has) in &given {
            match &want {
                Asked::Any(method) if *method == has.method => out.push((*text).clone()),
                Asked::One(want) if has.covers(want) => out.push(entry.clone()),
                Asked::One(want) if want.covers(has) => out.push((*text).clone()),
                _ => {}
            }
        }
    }
    out.sort();
    out.dedup();
    out
}

/// A name, or an address in its one usual spelling: `0x7f.1`, `127.1` and `2130706433` are none, and a name does not end in
/// a dot or a number.
pub fn is_host(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
    host.len() <= 253 && host.split('.').all(label) && !numeric
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entry: &str) -> Destination {
        Destination::parse(entry).unwrap_or_else(|| panic!("{entry}"))
    }

    #[test]
    fn entries() {
        let d = of("GET API.example.com");
        assert_eq!((d.https, d.host.as_str(), d.port), (true, "api.example.com", 443));
        assert_eq!(of("PUT http://127.0.0.1:9000").port, 9_000);
        assert_eq!(of("PUT http://[::1]").host, "::1");
        assert_eq!(of("PUT https://[::1]:65535").port, 65_535);
        assert_eq!(of("GET http://localhost").port, 80);
        for bad in [
            "",
            "GET",
            "GET ",
            "get a.b",
            "PATCH a.b",
            "GET ftp://a.b",
            "GET a.b/",
            "GET a.b:0",
            "GET a.b:65536",
            "GET a.b:+80",
            "GET a.b:",
            "GET u@a.b",
            "GET a b",
            "GET *",
            "GET *.*.b",
            "GET a.*",
            "GET 0x7f.1",
            "GET 127.1",
            "GET 2130706433",
            "GET a.b.",
            "GET -a.b",
            "GET a..b",
            "GET [::1",
            "GET [::1]x",
            "GET ::1",
            "GET a.0x1f",
            "GET \u{e4}.b",
        ] {
            assert_eq!(Destination::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_effective_is_never_wider_than_what_was_asked_or_given() {
        let both = |a: &str, g: &str| meet(&[a.into()], &[g.into()]);
        assert_eq!(both("PUT *", "PUT http://127.0.0.1:9000"), ["PUT http://127.0.0.1:9000"]);
        assert_eq!(both("GET a.example.com", "GET *.example.com"), ["GET a.example.com"]);
        assert_eq!(both("GET *.example.com", "GET a.example.com"), ["GET a.example.com"]);
        assert_eq!(both("GET *.a.b", "GET *.b"), ["GET *.a.b"]);
        assert_eq!(both("GET A.b", "GET https://a.b:443"), ["GET A.b"]);
        for (a, g) in [
            // TLS is not given away, nor is another port.
            ("GET http://x.example.com", "GET *.example.com"),
            ("GET http://x.example.com:443", "GET *.example.com"),
            ("GET x.example.com:8443", "GET *.example.com"),
            ("GET *.b", "GET http://a.b"),
            ("GET 10.0.0.1#.example.com", "GET *.example.com"),
            ("PUT *", "GET a.b"),
            ("GET a.b", "GET *"),
            ("GET a.b", "GET a.c"),
            ("*", "GET a.b"),
            ("GET*", "GET a.b"),
        ] {
            assert!(both(a, g).is_empty(), "{a} ∩ {g}");
        }
    }

    #[test]
    fn an_entry_covers_itself_and_nothing_beside_it() {
        let entry = of("GET a.example.com:8443");
        assert!(entry.covers(&entry));
        for other in [
            "PUT a.example.com:8443",
            "GET a.example.com",
            "GET http://a.example.com:8443",
            "GET b.a.example.com:8443",
            "GET example.com:8443",
        ] {
            assert!(!entry.covers(&of(other)), "{other}");
        }
        let star = of("GET *.example.com");
        assert!(star.covers(&of("GET a.example.com")) && star.covers(&of("GET a.b.example.com")));
        for other in ["GET example.com", "GET notexample.com", "GET a.example.com.evil.com"] {
            assert!(!star.covers(&of(other)), "{other}");
        }
        assert_eq!(Destination::parse("GET *.1"), None, "no star over addresses");
    }
}
