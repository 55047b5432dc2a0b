//! A real InfluxDB server for tests: its own folder and port, gone when the test is.

#![allow(clippy::expect_used, clippy::panic)] // A test that has no server cannot go on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest wait for the server to be ready.
const START_MAX: Duration = Duration::from_secs(60);
/// Tries of a request whose answer is lost.
const ATTEMPTS_MAX: u32 = 5;
/// Tries to find a port that nobody else takes meanwhile.
const PORTS_TRIED: u32 = 5;

/// A running `influxd`, with an organisation and a token that may do everything.
#[derive(Debug)]
pub struct Influxd {
    binary: PathBuf,
    dir: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Influxd {
    pub const ORG: &'static str = "shiphold";
    pub const TOKEN: &'static str = "token-of-a-test";
    /// Made by the set-up.
    pub const BUCKET: &'static str = "first";

    /// Starts and sets up the server that `SHIPHOLD_INFLUXD` names.
    pub fn start() -> Self {
        let binary = std::env::var_os("SHIPHOLD_INFLUXD").map(PathBuf::from).expect(
            "SHIPHOLD_INFLUXD is not set: run `cargo xtask peers`, then `cargo xtask test --only influxd`",
        );
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).expect("random bytes");
        let dir = std::env::temp_dir().join(format!("shiphold-influxd-{:016x}", u64::from_ne_bytes(random)));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        let mut server = Self { binary, dir, port: 0, child: None };
        for attempt in 1.. {
            server.port = free_port();
            if server.launch() {
                break;
            }
            assert!(attempt < PORTS_TRIED, "influxd does not start: {}", server.log());
        }
        let setup = format!(
            r#"{{"username":"test","password":"password-of-a-test","org":"{}","bucket":"{}","token":"{}"}}"#,
            Self::ORG,
            Self::BUCKET,
            Self::TOKEN
        );
        let (status, said) = server.request("POST", "/api/v2/setup", &setup).expect("the set-up");
        assert_eq!(status, 201, "{said}");
        server
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts again on the same folder and port.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "influxd does not start again: {}", self.log());
    }

    /// One request with the token; status and body. Where the server refuses a body before it has read all of it, it may
    /// close so soon that its answer is lost on the way: then it is asked again.
    pub fn request(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
        let mut attempt = 1;
        loop {
            match self.request_once(method, path, body) {
                Err(e) if attempt < ATTEMPTS_MAX && matches!(e.kind(), ConnectionReset | BrokenPipe) => {
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    fn request_once(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(START_MAX))?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Token {}\r\nContent-Length: {}\r\n\r\n{body}",
            Self::TOKEN,
            body.len()
        )?;
        let mut raw = Vec::new();
        match stream.read_to_end(&mut raw) {
            Err(e) if raw.is_empty() => return Err(e),
            _ => {}
        }
        let text = String::from_utf8_lossy(&raw);
        let bad = || std::io::Error::other(format!("not an answer: {text}"));
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(bad)?;
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(bad)?;
        Ok((status, body.to_string()))
    }

    /// Lines with times in nanoseconds to a bucket.
    pub fn write(&self, bucket: &str, lines: &str) -> (u16, String) {
        let path = format!("/api/v2/write?org={}&bucket={bucket}&precision=ns", Self::ORG);
        self.request("POST", &path, lines).expect("influxd answers")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn launch(&mut self) -> bool {
        let log = std::fs::File::create(self.dir.join("log")).expect("a log");
        let mut command = Command::new(&self.binary);
        command
            .args(["--http-bind-address", &format!("127.0.0.1:{}", self.port)])
            .args(["--reporting-disabled", "--log-level", "error"])
            .arg("--bolt-path")
            .arg(self.dir.join("bolt"))
            .arg("--engine-path")
            .arg(self.dir.join("engine"))
            .arg("--sqlite-path")
            .arg(self.dir.join("sqlite"))
            .env("INFLUX_CONFIGS_PATH", self.dir.join("configs"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        die_with_parent(&mut command);
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.binary.display())));
        let begin = Instant::now();
        while begin.elapsed() < START_MAX {
            if self
                .request("GET", "/health", "")
                .is_ok_and(|(status, said)| status == 200 && said.contains("pass"))
            {
                return true;
            }
            let ended = self.child.as_mut().is_none_or(|c| !matches!(c.try_wait(), Ok(None)));
            if ended {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Influxd {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// A test that is killed leaves no server behind.
#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec only `prctl` is called, which is safe after a fork and touches no memory.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
    }
}
