//! Backup targets that reach for other machines, other secrets and other files. Each tries when it is asked whether a blob is
//! there; it traps when what it tried was done, or refused in another way than it should be.

use super::super::guest::Wat;
use super::{Beast, End, survive, words};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

const SEND: &str = r#"(import "shiphold:host/http@0.1.2" "send"
    (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;
const SECRET: &str = r#"(import "shiphold:host/secrets@0.1.2" "get" (func $secret (param i32 i32 i32)))"#;
const FILES: &str = r#"(import "shiphold:host/files@0.1.2" "list"
        (func $files (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "shiphold:host/files@0.1.2" "open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32)))
    (import "shiphold:host/files@0.1.2" "create" (func $create (param i32 i32 i32 i32 i32 i32 i32)))
    (import "shiphold:host/files@0.1.2" "remove" (func $remove (param i32 i32 i32 i32 i32)))
    (import "shiphold:host/files@0.1.2" "describe" (func $describe (param i32 i32 i32 i32 i32 i64 i32)))
    (import "shiphold:host/files@0.1.2" "set-label"
        (func $label (param i32 i32 i32 i32 i32 i32 i32 i64 i32 i64 i32)))"#;

/// Cases of the error of an interface, in the order of `wit/types.wit`.
const INVALID: u32 = 0;
const NOT_FOUND: u32 = 1;
const DENIED: u32 = 2;
const UNAVAILABLE: u32 = 6;

/// A server on loopback that no plugin may reach, and one that is granted and answers with the way to the other.
struct Servers {
    inner: u16,
    outer: u16,
    /// Connections to the inner one.
    reached: AtomicUsize,
}

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        // On both families: `localhost` may be either.
        let inner = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = inner.local_addr().unwrap().port();
        let listeners = [Some(inner), TcpListener::bind((Ipv6Addr::LOCALHOST, port)).ok()];
        for inner in listeners.into_iter().flatten() {
            std::thread::spawn(move || {
                for stream in inner.incoming() {
                    servers().reached.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.map(|mut s| s.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
                }
            });
        }
        let outer = TcpListener::bind("127.0.0.1:0").unwrap();
        let outer_port = outer.local_addr().unwrap().port();
        let answer = format!(
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        std::thread::spawn(move || {
            for mut stream in outer.incoming().flatten() {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Servers { inner: port, outer: outer_port, reached: AtomicUsize::new(0) }
    })
}

/// Texts of a guest, from 512 of its memory on.
#[derive(Default)]
struct Texts {
    data: String,
    end: u32,
}

impl Texts {
    /// Where it lies and how long it is, as two arguments.
    fn add(&mut self, text: &str) -> String {
        let (at, len) = (512 + self.end, u32::try_from(text.len()).unwrap());
        let escaped: String = text.bytes().map(|b| format!("\\{b:02x}")).collect();
        self.data.push_str(&format!("(data (i32.const {at}) \"{escaped}\")"));
        self.end += len;
        format!("(i32.const {at}) (i32.const {len})")
    }
}

/// A target that does `tries` when it is asked for a blob, and then knows of none.
fn target(texts: &Texts, imports: &str, tries: &str, about: &str) -> Wat {
    let mut wat = Wat::new("backup-target")
        .import(imports)
        .about(about)
        .fields(format!(
            "(memory (export \"memory\") 20) (data (i32.const 128) {}) {}",
            words(&[0; 8]),
            texts.data
        ))
        .function("put", "(param i32 i32 i64)", "unreachable")
        .function("get", "(param i32 i32 i64 i32)", "unreachable")
        .function("list", "(param i32 i32 i32 i32 i32 i32)", "unreachable")
        .function("stat", "(param i32 i32)", &format!("{tries} (i32.const 128)"))
        .function("delete", "(param i32 i32)", "unreachable");
    for (name, params) in [("write", "i32 i32 i32"), ("finish", "i32")] {
        wat.functions.push_str(&format!(
            "(func (export \"shiphold:host/backup-target@0.1.2#[method]upload.{name}\") (param {params}) (result i32)
                unreachable)"
        ));
    }
    wat
}

/// The result at 32 must be an error of one of these cases.
fn must_fail(cases: &[u32]) -> String {
    let any = cases.iter().fold("(i32.const 0)".to_string(), |any, case| {
        format!("(i32.or {any} (i32.eq (i32.load8_u (i32.const 36)) (i32.const {case})))")
    });
    format!(
        "(if (i32.eqz (i32.load8_u (i32.const 32))) (then unreachable))
         (if (i32.eqz {any}) (then unreachable))"
    )
}

fn get(texts: &mut Texts, method: &str, url: &str) -> String {
    let (method, url) = (texts.add(method), texts.add(url));
    format!(
        "(call $send {method} {url} (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32))"
    )
}

const ASKS_HTTP: &str = "[grants]\nhttp = [\"GET *\", \"PUT *\"]";

/// Asks for a URL that it has no grant for, or whose host is an inner address.
fn reaches(name: &'static str, url: &str, cases: &[u32]) -> Beast {
    let Servers { outer, .. } = servers();
    let mut texts = Texts::default();
    let call = get(&mut texts, "GET", url);
    let wat = target(&texts, SEND, &format!("{call} {}", must_fail(cases)), ASKS_HTTP);
    // None of it names an inner address but that of the outer server.
    let grants = format!(
        "[@.grants]\nhttp = [\"GET http://127.0.0.1:{outer}\", \"GET http://*.localhost:{inner}\", \"GET https://example.com\"]\n",
        inner = servers().inner
    );
    Beast::of(name, &wat, End::Harmless).with(&grants)
}

fn wrong_method() -> Beast {
    let Servers { outer, .. } = servers();
    let mut texts = Texts::default();
    let call = get(&mut texts, "PUT", &format!("http://127.0.0.1:{outer}/"));
    let wat = target(&texts, SEND, &format!("{call} {}", must_fail(&[DENIED])), ASKS_HTTP);
    Beast::of("sends-by-another-method", &wat, End::Harmless)
        .with(&format!("[@.grants]\nhttp = [\"GET http://127.0.0.1:{outer}\"]\n"))
}

/// Gets the way to the inner server from one that it may ask, and goes there itself.
fn follows() -> Beast {
    let Servers { inner, outer, .. } = servers();
    let mut texts = Texts::default();
    let first = get(&mut texts, "GET", &format!("http://127.0.0.1:{outer}/"));
    let second = get(&mut texts, "GET", &format!("http://127.0.0.1:{inner}/"));
    // The answer 302 is handed over; nobody followed it.
    let tries = format!(
        "{first}
         (if (i32.load8_u (i32.const 32)) (then unreachable))
         (if (i32.ne (i32.load16_u (i32.const 36)) (i32.const 302)) (then unreachable))
         {second} {}",
        must_fail(&[DENIED])
    );
    Beast::of("follows-a-redirect-inside", &target(&texts, SEND, &tries, ASKS_HTTP), End::Harmless)
        .with(&format!("[@.grants]\nhttp = [\"GET http://127.0.0.1:{outer}\"]\n"))
}

fn wants_secret(name: &'static str, secret: &str) -> Beast {
    let mut texts = Texts::default();
    let call = format!("(call $secret {} (i32.const 32))", texts.add(secret));
    let about = "[grants]\nsecrets = [\"own\", \"repository\"]";
    let wat = target(&texts, SECRET, &format!("{call} {}", must_fail(&[DENIED, INVALID])), about);
    Beast::of(name, &wat, End::Harmless).with("[@.grants]\nsecrets = [\"own\"]\n")
}

/// A result at 40 whose cases lie eight bytes on, as one at 32 whose cases lie four on.
const EIGHT: &str = "(i32.store8 (i32.const 32) (i32.load8_u (i32.const 40)))
    (i32.store8 (i32.const 36) (i32.load8_u (i32.const 48)))";

/// What a guest does with a file of a store.
#[derive(Clone, Copy)]
enum Does {
    List,
    Open,
    Create,
    Remove,
    Describe,
    Label,
}

fn touches(name: &'static str, does: Does, store: &str, path: &str, cases: &[u32]) -> Beast {
    let mut texts = Texts::default();
    let (store, path, media) = (texts.add(store), texts.add(path), texts.add("text/plain"));
    let call = match does {
        Does::List => {
            format!(
                "(call $files {store} {path} (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 9) (i32.const 32))"
            )
        }
        Does::Open => {
            format!("(call $open {store} {path} (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 32))")
        }
        Does::Create => format!("(call $create {store} {path} {media} (i32.const 32))"),
        Does::Remove => format!("(call $remove {store} {path} (i32.const 32))"),
        Does::Describe => {
            format!("(call $describe {store} {path} (i32.const 0) (i64.const 0) (i32.const 40)) {EIGHT}")
        }
        Does::Label => {
            let name = texts.add("production");
            format!(
                "(call $label {store} {name} {path} (i32.const 0) (i64.const 0) (i32.const 0) (i64.const 0) (i32.const 40)) {EIGHT}"
            )
        }
    };
    let about = "[grants.files]\nread = [\"*/*\"]\nwrite = [\"*/*\"]\ndelete = [\"*/*\"]";
    let wat = target(&texts, FILES, &format!("{call} {}", must_fail(cases)), about);
    Beast::of(name, &wat, End::Harmless).with(
        "[@.grants.files]\nread = [\"attic/own/*\"]\nwrite = [\"attic/own/*\"]\ndelete = [\"attic/own/*\"]\n",
    )
}

pub(super) fn beasts() -> Vec<Beast> {
    let inner = servers().inner;
    let at = |host: &str| format!("http://{host}:{inner}/");
    let denied: &[u32] = &[DENIED];
    // An address in an odd form is no host at all, or it is one that was not granted.
    let not: &[u32] = &[DENIED, INVALID];
    let mut all = vec![
        reaches("reaches-loopback", &at("127.0.0.1"), denied),
        reaches("reaches-loopback-by-its-name", &at("localhost"), denied),
        reaches("reaches-loopback-by-a-name-below", &at("evil.localhost"), &[DENIED, UNAVAILABLE]),
        reaches("reaches-loopback-elsewhere", &at("127.9.9.9"), denied),
        reaches("reaches-loopback-of-ipv6", &at("[::1]"), denied),
        reaches("reaches-loopback-mapped", &at("[::ffff:127.0.0.1]"), denied),
        reaches("reaches-loopback-mapped-in-hex", &at("[::ffff:7f00:1]"), denied),
        reaches("reaches-loopback-compatible", &at("[::127.0.0.1]"), denied),
        reaches("reaches-loopback-translated", &at("[64:ff9b::7f00:1]"), denied),
        reaches("reaches-nowhere-in-particular", &at("0.0.0.0"), denied),
        reaches("reaches-nowhere-of-ipv6", &at("[::]"), denied),
        reaches("reaches-loopback-as-a-number", &at("2130706433"), not),
        reaches("reaches-loopback-in-hex", &at("0x7f.0.0.1"), not),
        reaches("reaches-loopback-in-octal", &at("0177.0.0.1"), not),
        reaches("reaches-loopback-in-short", &at("127.1"), not),
        reaches("reaches-loopback-behind-a-user", &format!("http://example.com@127.0.0.1:{inner}/"), not),
        reaches("reaches-loopback-behind-a-slash", &format!("http:\\\\127.0.0.1:{inner}\\"), not),
        reaches("reaches-the-metadata-service", "http://169.254.169.254/latest/meta-data/", denied),
        reaches("reaches-the-metadata-service-of-ipv6", "http://[fd00:ec2::254]/", denied),
        reaches("reaches-a-private-net", "http://10.0.0.1/", denied),
        reaches("reaches-a-private-net-of-192", "http://192.168.0.1/", denied),
        reaches("reaches-a-private-net-of-172", "http://172.16.0.1/", denied),
        reaches("reaches-a-link-of-ipv6", "http://[fe80::1]/", not),
        reaches("reaches-another-port", &format!("http://127.0.0.1:{}/", servers().outer ^ 1), denied),
        reaches("reaches-without-encryption", "http://example.com/", denied),
        reaches("reaches-a-name-that-only-ends-so", "https://evilexample.com/", denied),
        reaches("reaches-a-file", "file:///etc/passwd", not),
        reaches("reaches-no-host", "https:///", not),
        wrong_method(),
        follows(),
        wants_secret("wants-the-password-of-the-backups", "repository"),
        wants_secret("wants-a-secret-that-is-not-there", "missing"),
        wants_secret("wants-all-secrets", "*"),
        wants_secret("wants-the-secret-of-a-path", "../../etc/shadow"),
        wants_secret("wants-the-secret-of-no-name", ""),
        wants_secret("wants-a-secret-after-a-nul", "own\0repository"),
    ];
    for (names, does) in [
        (["lists-another-folder", "lists-above", "lists-another-store", "lists-the-data"], Does::List),
        (["opens-another-folder", "opens-above", "opens-another-store", "opens-the-data"], Does::Open),
        (
            ["creates-in-another-folder", "creates-above", "creates-in-another-store", "creates-in-the-data"],
            Does::Create,
        ),
        (
            [
                "removes-from-another-folder",
                "removes-above",
                "removes-from-another-store",
                "removes-the-data",
            ],
            Does::Remove,
        ),
        (
            ["describes-another-folder", "describes-above", "describes-another-store", "describes-the-data"],
            Does::Describe,
        ),
        (["labels-another-folder", "labels-above", "labels-another-store", "labels-the-data"], Does::Label),
    ] {
        let [other, above, store, data] = names;
        let cases: &[u32] = &[DENIED, INVALID, NOT_FOUND];
        // Listing shows what may be read; a folder without any of it is empty.
        if !matches!(does, Does::List) {
            all.push(touches(other, does, "attic", "other/a", denied));
            all.push(touches(above, does, "attic", "own/../other/a", not));
        }
        all.push(touches(store, does, "vault", "own/a", cases));
        all.push(touches(data, does, "../data", "shiphold.db", cases));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_targets_reach_for_is_out_of_reach() {
    survive(beasts()).await;
    assert_eq!(servers().reached.load(Ordering::SeqCst), 0, "nothing was ever connected to");
}
