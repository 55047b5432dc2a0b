//! Requests to servers of our own on loopback, which the grants name, and to places that nothing may reach.

use super::*;
use shiphold_storage::Grants;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// A server that gives the same bytes to each connection; what it was sent comes out of the channel.
fn server(answer: &'static [u8]) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let tx = tx.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = n.trim().parse().unwrap();
                    }
                    if line == "\r\n" {
                        break;
                    }
                    head.push_str(&line);
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                head.push_str(&String::from_utf8_lossy(&body));
                let _ = tx.send(head);
                let _ = stream.write_all(answer);
            });
        }
    });
    (port, rx)
}

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-One: 1\r\nConnection: close\r\n\r\nhello";

fn plugin(http: &[&str]) -> Caller {
    let grants = Grants { http: http.iter().map(|s| (*s).into()).collect(), ..Grants::default() };
    Caller::Plugin { name: "p".into(), grants: Arc::new(grants) }
}

fn get(url: &str) -> Request {
    Request { method: "GET".into(), url: url.into(), headers: Vec::new(), body: Vec::new() }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// As the import does it.
fn send(door: &Door, caller: &Caller, request: Request, body_max: u64) -> Result<Response> {
    let uri = granted(caller, &request.method, &request.url)?;
    door.send(request, &uri, soon(), body_max)
}

#[test]
fn what_is_granted_is_sent_and_answered() {
    let (port, seen) = server(HELLO);
    let caller = plugin(&[&format!("GET http://127.0.0.1:{port}"), &format!("PUT http://127.0.0.1:{port}")]);
    let door = Door::default();
    let answer = send(&door, &caller, get(&format!("http://127.0.0.1:{port}/a%20b?x=1")), 5).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello"[..]), "at the limit of its body");
    assert!(answer.headers.contains(&("x-one".into(), "1".into())));
    let head = seen.recv().unwrap();
    assert!(head.starts_with("GET /a%20b?x=1 HTTP/1.1\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(
        lower.contains(&format!("host: 127.0.0.1:{port}\r\n")) && !lower.contains("accept-encoding"),
        "{head}"
    );
    let put = Request {
        method: "PUT".into(),
        headers: vec![("X-Amz-Date".into(), "now".into())],
        body: b"content".to_vec(),
        ..get(&format!("http://127.0.0.1:{port}/x"))
    };
    send(&door, &caller, put.clone(), 5).unwrap();
    let head = seen.recv().unwrap();
    assert!(head.ends_with("content") && head.to_ascii_lowercase().contains("x-amz-date: now"), "{head}");
    send(&door, &caller, Request { body: Vec::new(), ..put }, 5).unwrap();
    assert!(seen.recv().unwrap().to_ascii_lowercase().contains("content-length: 0"));
    let e = send(&door, &caller, get(&format!("http://127.0.0.1:{port}/")), 4).unwrap_err();
    assert!(e.kind() == Kind::Limit && e.message().contains("4 bytes"), "{e}");
}

#[test]
fn what_is_not_granted_is_not_sent() {
    let (port, seen) = server(HELLO);
    let here = format!("http://127.0.0.1:{port}");
    for (grants, method, url) in [
        (vec![], "GET", here.clone()),
        (vec![format!("PUT {here}")], "GET", here.clone()),
        (vec!["GET http://127.0.0.1".into()], "GET", here.clone()),
        (vec![format!("GET https://127.0.0.1:{port}")], "GET", here.clone()),
        (vec![format!("GET http://localhost:{port}")], "GET", here.clone()),
        (vec![format!("GET {here}")], "GET", format!("http://127.0.0.2:{port}")),
    ] {
        let grants: Vec<&str> = grants.iter().map(String::as_str).collect();
        let request = Request { method: method.into(), ..get(&url) };
        let e = send(&Door::default(), &plugin(&grants), request, 100).unwrap_err();
        assert_eq!(e.kind(), Kind::Denied, "{grants:?} {url}: {e}");
    }
    assert!(seen.try_recv().is_err(), "nothing arrived");
}

#[test]
fn odd_urls_go_nowhere() {
    let caller = plugin(&["GET http://127.0.0.1", "GET http://example.com", "GET http://*.example.com"]);
    for url in [
        "http://0x7f.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://user@example.com/",
        "http://127.0.0.1@example.com/",
        "http://example.com:80@127.0.0.1/",
        "ftp://example.com/",
        "//example.com/",
        "/x",
        "",
        "http://",
        "http://[::ffff:127.0.0.1]/",
        "http://exa mple.com/",
        "http://example.com\\@x/",
        "http://example.com\r\nHost: x/",
        "file:///etc/passwd",
        "http://example.com.127.0.0.1/",
    ] {
        let e = granted(&caller, "GET", url).unwrap_err();
        assert!(matches!(e.kind(), Kind::Invalid | Kind::Denied), "{url}: {e}");
    }
    let long = format!("http://example.com/{}", "a".repeat(URL_BYTES_MAX - 19));
    assert!(granted(&caller, "GET", &long).is_ok(), "{}", long.len());
    assert_eq!(granted(&caller, "GET", &format!("{long}a")).unwrap_err().kind(), Kind::Limit);
}

/// A resolver that gives one address after another.
#[derive(Debug)]
struct Turns {
    addresses: Vec<Vec<SocketAddr>>,
    asked: Arc<AtomicUsize>,
}

impl Resolver for Turns {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> std::result::Result<ResolvedSocketAddrs, ureq::Error> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst);
        let mut out = self.empty();
        self.addresses[turn.min(self.addresses.len() - 1)].iter().for_each(|a| out.push(*a));
        Ok(out)
    }
}

fn turns(addresses: &[&[&str]]) -> (Door, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let addresses = addresses.iter().map(|all| all.iter().map(|a| a.parse().unwrap()).collect()).collect();
    (Door::with(Turns { addresses, asked: asked.clone() }), asked)
}

#[test]
fn a_name_is_resolved_once_and_what_was_looked_at_is_connected_to() {
    let (port, seen) = server(HELLO);
    let caller =
        plugin(&[&format!("GET http://rebind.example.com:{port}"), &format!("GET http://localhost:{port}")]);
    let url = format!("http://rebind.example.com:{port}/");
    // The first answer is inside: refused. A second look would have been outside, and the other way round.
    let inside = format!("127.0.0.1:{port}");
    let (door, asked) = turns(&[&[&inside], &["8.8.8.8:80"]]);
    let e = send(&door, &caller, get(&url), 100).unwrap_err();
    assert!(
        e.kind() == Kind::Denied
            && e.message().contains("rebind.example.com")
            && e.message().contains("127.0.0.1"),
        "{e}"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(seen.try_recv().is_err());
    // One inner address among public ones is enough.
    let (door, _) = turns(&[&["8.8.8.8:80", &inside]]);
    assert_eq!(send(&door, &caller, get(&url), 100).unwrap_err().kind(), Kind::Denied);
    // Named by its grant, loopback is reached, and the name was asked for once.
    let (door, asked) = turns(&[&[&inside], &["8.8.8.8:80"]]);
    assert_eq!(send(&door, &caller, get(&format!("http://localhost:{port}/")), 100).unwrap().status, 200);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // `localhost` is loopback or nothing.
    let (door, _) = turns(&[&["192.168.1.1:80"]]);
    assert_eq!(
        send(&door, &caller, get(&format!("http://localhost:{port}/")), 100).unwrap_err().kind(),
        Kind::Denied
    );
}

#[test]
fn a_redirect_is_the_guests_to_follow_and_is_looked_at_again() {
    let (inner, seen_inside) = server(HELLO);
    let to: &'static str = Box::leak(
        format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{inner}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .into_boxed_str(),
    );
    let (port, _seen) = server(to.as_bytes());
    let caller = plugin(&[&format!("GET http://127.0.0.1:{port}")]);
    let answer = send(&Door::default(), &caller, get(&format!("http://127.0.0.1:{port}/")), 100).unwrap();
    assert_eq!(answer.status, 302);
    let location = answer.headers.iter().find(|(n, _)| n == "location").unwrap().1.clone();
    assert_eq!(send(&Door::default(), &caller, get(&location), 100).unwrap_err().kind(), Kind::Denied);
    assert!(seen_inside.try_recv().is_err());
}

#[test]
fn inner_addresses_are_told_from_public_ones() {
    for inner in [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::127.0.0.1",
        "fe80::1",
        "fc00::1",
        "fdff::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "3fff::1",
        "100::1",
        "5f00::1",
    ] {
        assert!(!is_public(inner.parse().unwrap()), "{inner}");
        assert!(!may_reach("api.example.com", inner.parse().unwrap()), "{inner}");
    }
    for public in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "128.0.0.1",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:4860::8888",
        "64:ff9b::808:808",
        "2001:200::1",
    ] {
        assert!(is_public(public.parse().unwrap()), "{public}");
    }
    assert!(
        may_reach("10.0.0.1", "10.0.0.1".parse().unwrap())
            && !may_reach("10.0.0.1", "10.0.0.2".parse().unwrap())
    );
}

#[test]
fn headers_of_the_connection_are_not_the_guests() {
    let ok = |name: &str, value: &str| headers(&[(name.into(), value.into())]);
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Proxy-Authorization",
        "Upgrade",
        "TE",
        "Expect",
    ] {
        assert_eq!(ok(name, "x").unwrap_err().kind(), Kind::Invalid, "{name}");
    }
    for (name, value) in [
        ("a b", "x"),
        ("", "x"),
        ("a\r\nHost", "x"),
        ("a:", "x"),
        ("a", "x\r\nHost: y"),
        ("a", "x\0"),
        ("ä", "x"),
    ] {
        assert_eq!(ok(name, value).unwrap_err().kind(), Kind::Invalid, "{name:?} {value:?}");
    }
    assert!(ok("Authorization", "AWS4-HMAC-SHA256 Credential=x").is_ok());
    let many = |n: usize| headers(&vec![("a".to_string(), "b".to_string()); n]);
    assert!(many(HEADERS_MAX).is_ok());
    assert_eq!(many(HEADERS_MAX + 1).unwrap_err().kind(), Kind::Limit);
    assert!(ok("a", &"b".repeat(HEADER_BYTES_MAX - 1)).is_ok());
    assert_eq!(ok("a", &"b".repeat(HEADER_BYTES_MAX)).unwrap_err().kind(), Kind::Limit);
}

#[test]
fn bad_servers_end_in_errors() {
    for (answer, kind) in [
        (&b"garbage\r\n\r\n"[..], Kind::Unavailable),
        (b"", Kind::Unavailable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", Kind::Unavailable),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Kind::Unavailable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", Kind::Unavailable),
    ] {
        let (port, _seen) = server(answer);
        let caller = plugin(&[&format!("GET http://127.0.0.1:{port}")]);
        let e = send(&Door::default(), &caller, get(&format!("http://127.0.0.1:{port}/")), 100).unwrap_err();
        assert_eq!(e.kind(), kind, "{}: {e}", String::from_utf8_lossy(answer));
    }
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(ANSWER_HEAD_BYTES_MAX));
    let (port, _seen) = server(Box::leak(head.into_boxed_str()).as_bytes());
    let caller = plugin(&[&format!("GET http://127.0.0.1:{port}")]);
    assert!(send(&Door::default(), &caller, get(&format!("http://127.0.0.1:{port}/")), 100).is_err());
}

#[test]
fn a_server_that_says_nothing_costs_the_deadline_and_no_more() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let caller = plugin(&[&format!("GET http://127.0.0.1:{port}")]);
    let request = get(&format!("http://127.0.0.1:{port}/"));
    let uri = granted(&caller, "GET", &request.url).unwrap();
    let e = Door::default().send(request, &uri, Instant::now() + Duration::from_millis(50), 100).unwrap_err();
    assert_eq!(e.kind(), Kind::Timeout, "{e}");
    let closed = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let caller =
        plugin(&[&format!("GET http://127.0.0.1:{closed}"), &format!("GET https://127.0.0.1:{port}")]);
    let e = send(&Door::default(), &caller, get(&format!("http://127.0.0.1:{closed}/")), 100).unwrap_err();
    assert_eq!(e.kind(), Kind::Unavailable, "{e}");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    // A server that speaks no TLS at all answers a handshake with garbage: no connection, and nothing sent in the open.
    let (port, seen) = server(HELLO);
    let caller = plugin(&[&format!("GET 127.0.0.1:{port}")]);
    let e = send(&Door::default(), &caller, get(&format!("https://127.0.0.1:{port}/secret")), 100);
    assert!(seen.try_iter().all(|head| !head.contains("secret")));
    assert!(e.is_err(), "{e:?}");
}
