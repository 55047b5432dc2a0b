//! A host in a temporary folder: built with chained `with_*`, driven through the binary only.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The longest that a scenario waits for a host to answer or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A manifest in a folder of its own, and the host that runs from it.
pub struct Host {
    dir: tempfile::TempDir,
    pub port: u16,
    manifest: String,
    envs: Vec<(String, String)>,
    child: Option<Child>,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Ended well; gives back what it printed.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "{self:#?}");
        &self.out
    }

    /// Ended with `code` and an error that holds each of `words`.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:#?}");
        for word in words {
            assert!(self.err.contains(word), "no `{word}` in {self:#?}");
        }
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.ok()).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

impl From<Output> for Said {
    fn from(o: Output) -> Self {
        Self {
            code: o.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&o.stdout).into_owned(),
            err: String::from_utf8_lossy(&o.stderr).into_owned(),
        }
    }
}

pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shiphold"));
    command.stdin(Stdio::null()).env_remove("SHIPHOLD_MANIFEST").env_remove("RUST_LOG");
    command
}

impl Host {
    /// A manifest with a port of its own and watermarks that a small disk does not trip.
    pub fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let manifest = format!(
            "[host]\nname = \"test\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n\
             [disk]\nwarn_below = \"2 MiB\"\nread_only_below = \"1 MiB\"\nreserve = \"1 MiB\"\n"
        );
        Self { dir: tempfile::tempdir().unwrap(), port, manifest, envs: Vec::new(), child: None }
    }

    /// Adds to the manifest.
    pub fn with(mut self, toml: &str) -> Self {
        self.manifest.push_str(toml);
        self.manifest.push('\n');
        self
    }

    /// Another manifest from now on.
    pub fn edit(&mut self, change: impl FnOnce(&str) -> String) {
        self.manifest = change(&self.manifest);
    }

    pub fn with_env(mut self, key: &str, value: &str) -> Self {
        self.envs.push((key.into(), value.into()));
        self
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn manifest(&self) -> PathBuf {
        self.dir.path().join("shiphold.toml")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn write_manifest(&self) {
        // A host that runs looks at it: a command changes nothing about it.
        if std::fs::read_to_string(self.manifest()).ok().as_ref() != Some(&self.manifest) {
            std::fs::write(self.manifest(), &self.manifest).unwrap();
        }
    }

    /// The command line of this host.
    pub fn command(&self, args: &[&str]) -> Command {
        self.write_manifest();
        let mut command = binary();
        command.arg("--manifest").arg(self.manifest()).args(args).current_dir(self.path());
        command.envs(self.envs.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        command
    }

    pub fn run(&self, args: &[&str]) -> Said {
        self.command(args).output().unwrap().into()
    }

    /// Starts `serve` and waits until it answers.
    pub fn serve(&mut self) -> &mut Self {
        let log = std::fs::File::create(self.path().join("serve.log")).unwrap();
        let child = self.command(&["serve"]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("serve ended with {status}: {}", self.log());
            }
            if reqwest_ok(&self.url("/ping")) {
                return self;
            }
            assert!(begin.elapsed() < PATIENCE, "serve does not answer: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What `serve` printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("serve.log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("serve() was called").id()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill_nine(&mut self) {
        let mut child = self.child.take().expect("serve() was called");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A signal by name, as an operator sends it; the time until the end, and the exit code.
    pub fn signal(&mut self, name: &str) -> (Duration, Option<i32>) {
        let mut child = self.child.take().expect("serve() was called");
        let begin = Instant::now();
        assert!(
            Command::new("kill")
                .arg(format!("-{name}"))
                .arg(child.id().to_string())
                .status()
                .unwrap()
                .success()
        );
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return (begin.elapsed(), status.code());
            }
            assert!(begin.elapsed() < PATIENCE, "serve does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A token of a scope, made through the command line.
    pub fn token(&self, name: &str, scope: &str) -> String {
        let made = self.run(&["--json", "tokens", "create", name, "--scope", scope]).json();
        made["token"].as_str().unwrap_or_else(|| panic!("no token in {made}")).to_string()
    }

    /// Line protocol to `/api/v2/write`; status and body.
    pub fn write_lines(&self, token: &str, bucket: &str, lines: &str) -> Answer {
        self.http(
            "POST",
            &format!("/api/v2/write?org=o&bucket={bucket}&precision=s"),
            Some(token),
            lines.as_bytes(),
        )
    }

    pub fn http(&self, method: &str, path: &str, token: Option<&str>, body: &[u8]) -> Answer {
        let auth = token.map(|t| ("Authorization", format!("Token {t}")));
        let headers: Vec<(&str, &str)> = auth.iter().map(|(k, v)| (*k, v.as_str())).collect();
        request(&self.url(path), method, &headers, body)
    }

    /// Rows of a measurement, as the command line counts them.
    pub fn rows(&self, measurement: &str) -> u64 {
        let listed = self.run(&["--json", "series", "list", "--measurement", measurement]).json();
        let list = listed
            .as_array()
            .or_else(|| listed["series"].as_array())
            .unwrap_or_else(|| panic!("no list in {listed}"));
        list.iter().map(|s| s["rows"].as_u64().unwrap()).sum()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// One request over one connection.
pub fn request(url: &str, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    try_request(url, method, headers, body).unwrap_or_else(|e| panic!("{method} {url}: {e}"))
}

/// Plain HTTP/1.1 by hand: what is sent and read is exactly what stands here.
pub fn try_request(
    url: &str,
    method: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let rest = url.strip_prefix("http://").expect("a plain URL");
    let (host, path) = rest.split_at(rest.find('/').expect("a path"));
    let mut stream = std::net::TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(k, _)| k.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("Host: {host}\r\n"));
    }
    for (k, v) in headers {
        head.push_str(&format!("{k}: {v}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    // A server may answer and close before it has read a body that it refuses.
    let _ = stream.write_all(body);
    let mut raw = Vec::new();
    if let Err(e) = stream.read_to_end(&mut raw) {
        if raw.is_empty() {
            return Err(e);
        }
    }
    let bad = |why: &str| std::io::Error::other(format!("{why}: {}", String::from_utf8_lossy(&raw)));
    let end = raw.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(|| bad("no end of the head"))?;
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|l| l.split(' ').nth(1))
        .and_then(|s| s.parse().ok())
        .ok_or_else(|| bad("no status"))?;
    let headers: Vec<(String, String)> =
        lines.filter_map(|l| l.split_once(": ")).map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let chunked =
        headers.iter().any(|(k, v)| k.eq_ignore_ascii_case("transfer-encoding") && v.contains("chunked"));
    let body = if chunked {
        unchunk(&raw[end + 4..]).ok_or_else(|| bad("a broken chunk"))?
    } else {
        raw[end + 4..].to_vec()
    };
    Ok(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn unchunk(mut raw: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let line = raw.windows(2).position(|w| w == b"\r\n")?;
        let size =
            usize::from_str_radix(std::str::from_utf8(&raw[..line]).ok()?.split(';').next()?.trim(), 16)
                .ok()?;
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(raw.get(line + 2..line + 2 + size)?);
        raw = raw.get(line + 4 + size..)?;
    }
}

fn reqwest_ok(url: &str) -> bool {
    try_request(url, "GET", &[], b"").is_ok_and(|a| a.status == 204)
}

/// A one-minute bar per minute from `first`, as line protocol with seconds.
pub fn bars(symbol: &str, first: i64, count: i64) -> String {
    (0..count)
        .map(|i| {
            let p = 100.0 + (i % 50) as f64 / 100.0;
            format!(
                "bar,symbol={symbol},timeframe=1m open={p},high={},low={},close={p},volume={} {}\n",
                p + 0.05,
                p - 0.05,
                100 + i,
                first + i * 60
            )
        })
        .collect()
}

/// The folder of built components. `cargo xtask test` always sets it.
pub fn guests() -> PathBuf {
    PathBuf::from(
        std::env::var_os("SHIPHOLD_GUESTS")
            .expect("SHIPHOLD_GUESTS: run through `cargo xtask test`, or `cargo xtask guests` first"),
    )
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The times of a query's answer, in nanoseconds.
pub fn times_of(answer: &serde_json::Value) -> Vec<i64> {
    let columns = answer["columns"].as_array().unwrap_or_else(|| panic!("no columns in {answer}"));
    let time = columns.iter().find(|c| c["name"] == "time").unwrap_or_else(|| panic!("no time in {answer}"));
    time["values"].as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect()
}

impl Host {
    /// The same folder with another manifest.
    pub fn replace_manifest(mut self, text: String) -> Self {
        self.manifest = text;
        self
    }
}
