//! The real binary as a process of its own, and what speaks HTTP to it or to a real InfluxDB.

use flate2::Compression;
use flate2::write::GzEncoder;
use shiphold_storage::Manifest;
use shiphold_storage::testing::influxd::Influxd;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest wait for the host to answer.
const START_MAX: Duration = Duration::from_secs(20);

/// A host on a folder that goes with it.
pub struct Host {
    child: Option<Child>,
    dir: tempfile::TempDir,
    port: u16,
    token: String,
}

impl Host {
    /// With the example plugin, if it is built.
    pub fn start() -> Self {
        let mut more = String::new();
        if let Some(guests) = std::env::var_os("SHIPHOLD_GUESTS") {
            let component = Path::new(&guests).join("retention.wasm");
            if component.is_file() {
                more = format!(
                    "[plugins.retention]\ncomponent = \"{}\"\nworld = \"retention-policy\"\n[plugins.retention.grants.series]\nread = [\"*/*\"]\n",
                    component.display()
                );
            }
        }
        let mut host = Self::new(&more);
        host.serve();
        drop(host.server().connect());
        host
    }

    /// A folder with a manifest and a token; nothing runs on it yet.
    pub fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let manifest = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n{more}");
        std::fs::write(dir.path().join("shiphold.toml"), manifest).unwrap();
        let mut host = Self { child: None, dir, port, token: String::new() };
        let said =
            host.command(&["--json", "tokens", "create", "bench", "--scope", "admin"]).output().unwrap();
        let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
        host.token = said["token"].as_str().unwrap().to_string();
        host
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_shiphold"));
        c.current_dir(self.dir.path()).args(args).stdin(Stdio::null());
        c
    }

    /// Starts the process; [`Server::connect`] waits until it answers.
    pub fn serve(&mut self) {
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let child = self.command(&["serve"]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.child = Some(child);
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The same that the process reads.
    pub fn manifest(&self) -> Manifest {
        Manifest::load(&self.dir.path().join("shiphold.toml")).unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub fn server(&self) -> Server {
        let write = "/api/v2/write?bucket=market".into();
        Server { name: "Shiphold", port: self.port, token: self.token.clone(), write }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A real InfluxDB 2, if it has been built.
pub fn influxd() -> Option<Influxd> {
    std::env::var_os("SHIPHOLD_INFLUXD").is_some().then(Influxd::start)
}

/// Whom lines are sent to.
pub struct Server {
    pub name: &'static str,
    pub port: u16,
    pub token: String,
    write: String,
}

impl Server {
    pub fn of_influxd(server: &Influxd) -> Self {
        let write = format!("/api/v2/write?org={}&bucket={}", Influxd::ORG, Influxd::BUCKET);
        Self { name: "InfluxDB 2", port: server.port(), token: Influxd::TOKEN.into(), write }
    }

    /// A connection that is kept alive.
    pub fn connect(&self) -> Connection<'_> {
        let begin = Instant::now();
        loop {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) {
                stream.set_nodelay(true).unwrap();
                let reader = BufReader::new(stream.try_clone().unwrap());
                return Connection { server: self, stream, reader };
            }
            assert!(begin.elapsed() < START_MAX, "{} does not answer", self.name);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Bytes of a body, packed or not.
pub struct Body {
    bytes: Vec<u8>,
    packed: bool,
}

impl Body {
    /// Packed as fast as gzip goes, as clients do it.
    pub fn new(text: &str, packed: bool) -> Self {
        let bytes = if packed {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(text.as_bytes()).unwrap();
            gzip.finish().unwrap()
        } else {
            text.as_bytes().to_vec()
        };
        Self { bytes, packed }
    }
}

pub struct Connection<'a> {
    server: &'a Server,
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection<'_> {
    /// Sends lines and waits for 204, which says that they are durable.
    pub fn write(&mut self, body: &Body) {
        let (status, said) = self.post(&self.server.write, body);
        assert!(status.contains(" 204 "), "{}: {status}{said}", self.server.name);
    }

    /// The body of an answer that is good.
    pub fn get(&mut self, path: &str) -> String {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {}\r\n\r\n",
            self.server.token
        );
        self.stream.write_all(head.as_bytes()).unwrap();
        let (status, said) = self.answer();
        assert!(status.contains(" 200 "), "{}: {status}{said}", self.server.name);
        said
    }

    /// The line of the status and the body of the answer.
    pub fn post(&mut self, path: &str, body: &Body) -> (String, String) {
        let packed = if body.packed { "Content-Encoding: gzip\r\n" } else { "" };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {}\r\n{packed}Content-Length: {}\r\n\r\n",
            self.server.token,
            body.bytes.len()
        );
        // In one write where it is small: two would be two packets.
        if body.bytes.len() < 16_384 {
            self.stream.write_all(&[head.as_bytes(), &body.bytes].concat()).unwrap();
        } else {
            self.stream.write_all(head.as_bytes()).unwrap();
            self.stream.write_all(&body.bytes).unwrap();
        }
        self.answer()
    }

    fn answer(&mut self) -> (String, String) {
        let mut status = String::new();
        self.reader.read_line(&mut status).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).unwrap();
            if line == "\r\n" {
                break;
            }
            if let Some(v) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = v.trim().parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        self.reader.read_exact(&mut answer).unwrap();
        (status, String::from_utf8_lossy(&answer).into_owned())
    }
}
