//! A server that answers what a test wants: garbage, half replies, wrong statuses, nothing at all.

use super::{InfluxEngine, Outbox};
use crate::manifest::Influxdb2;
use crate::units::{ByteSize, Span};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What the server does with a request.
pub(crate) enum Reply {
    /// These bytes, whatever they are; then the connection ends.
    Raw(Vec<u8>),
    /// Nothing, until the test is over.
    Hang,
}

impl Reply {
    pub fn http(status: u16, headers: &str, body: &str) -> Self {
        Self::Raw(
            format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
                body.len()
            )
            .into_bytes(),
        )
    }
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub line: String,
    pub body: String,
    /// The body came as gzip.
    pub packed: bool,
}

pub(crate) struct FakeServer {
    port: u16,
    over: Arc<AtomicBool>,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    /// Clients that closed their connection while they got no answer.
    pub gone: Arc<AtomicUsize>,
}

impl FakeServer {
    /// `answer` gets each request and its number, from 0.
    pub fn start(answer: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let over = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let gone = Arc::new(AtomicUsize::new(0));
        let (stop, log, answer, left) = (over.clone(), asked.clone(), Arc::new(answer), gone.clone());
        let count = Arc::new(AtomicUsize::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (stop, log, answer, count) = (stop.clone(), log.clone(), answer.clone(), count.clone());
                let Ok(mut stream) = stream else { continue };
                let left = left.clone();
                std::thread::spawn(move || {
                    let Some(request) = read(&mut stream) else { return };
                    log.lock().unwrap().push(request.clone());
                    match answer(count.fetch_add(1, Ordering::SeqCst), &request) {
                        Reply::Raw(bytes) => {
                            let _ = stream.write_all(&bytes);
                        }
                        Reply::Hang => {
                            let _ = stream.set_read_timeout(Some(std::time::Duration::from_millis(5)));
                            while !stop.load(Ordering::SeqCst) {
                                if matches!(stream.read(&mut [0; 64]), Ok(0)) {
                                    left.fetch_add(1, Ordering::SeqCst);
                                    return;
                                }
                            }
                        }
                    }
                });
            }
        });
        Self { port, over, asked, gone }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// An engine that talks to this server and waits for at most `timeout_ms`.
    pub fn engine(&self, timeout_ms: u64) -> InfluxEngine {
        engine(&self.url(), "o", "t", timeout_ms)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

pub(crate) fn engine(url: &str, org: &str, token: &str, timeout_ms: u64) -> InfluxEngine {
    let settings = Influxdb2 { org: org.into(), timeout: Span::from_millis(timeout_ms), ..settings(url) };
    InfluxEngine::open(&settings, token.into()).unwrap()
}

/// What a manifest says of a server.
pub(crate) fn settings(url: &str) -> Influxdb2 {
    Influxdb2 {
        url: url.into(),
        org: "o".into(),
        token: "influx".into(),
        timeout: Span::from_secs(20),
        create_buckets: true,
        outbox_max: ByteSize::mib(64),
        batch_wait: Span::from_millis(5),
        retention: Default::default(),
    }
}

/// The engine behind an outbox that delivers by itself.
pub(in crate::series) fn behind_outbox(engine: InfluxEngine, path: &Path) -> Outbox {
    engine.behind_outbox(&settings("http://127.0.0.1"), path).unwrap()
}

fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut raw = Vec::new();
    let mut part = [0_u8; 4096];
    loop {
        if let Some(end) = raw.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&raw[..end]).into_owned();
            let length = head
                .lines()
                .filter_map(|l| l.split_once(':'))
                .find(|(k, _)| k.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, v)| v.trim().parse::<usize>().ok())
                .unwrap_or(0);
            if raw.len() >= end + 4 + length {
                let mut body = raw[end + 4..end + 4 + length].to_vec();
                let packed = head.to_ascii_lowercase().contains("content-encoding: gzip");
                if packed {
                    let bytes = std::mem::take(&mut body);
                    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut body).unwrap();
                }
                let body = String::from_utf8_lossy(&body).into_owned();
                return Some(Asked { line: head.lines().next()?.to_string(), body, packed });
            }
        }
        match stream.read(&mut part) {
            Ok(n) if n > 0 => raw.extend_from_slice(&part[..n]),
            _ => return None,
        }
    }
}
