//! A real S3 server of one test, and just enough HTTP/1.1 to speak with it.

use s3_target::client::{Client, Headers, Request, Response, Transport};
use s3_target::config::Config;
use s3_target::error::Error;
use s3_target::sigv4::Credentials;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ACCESS: &str = "shiphold-test";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const BUCKET: &str = "backups";

pub struct Server {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Server {
    /// With one empty bucket.
    pub fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("shiphold-s3-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        // To this server a folder is a bucket.
        for inside in ["data".into(), "meta".into(), format!("data/{BUCKET}")] {
            std::fs::create_dir_all(folder.join(inside)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { child: run(&folder, port), folder, port }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn restart(&mut self) {
        self.child = run(&self.folder, self.port);
    }

    pub fn config(&self, part_mib: u64) -> Config {
        let json = format!(
            r#"{{"endpoint":"http://127.0.0.1:{}","bucket":"{BUCKET}","region":"us-east-1","prefix":"repo",
            "part_mib":{part_mib},"access_key":"a","secret_key":"s"}}"#,
            self.port
        );
        Config::parse(&json).unwrap()
    }

    pub fn client(&self) -> Rc<Client<Http>> {
        self.client_of(self.config(5), SECRET)
    }

    pub fn client_of(&self, config: Config, secret: &str) -> Rc<Client<Http>> {
        let credentials =
            Credentials { access_key: ACCESS.into(), secret_key: secret.into(), session_token: None };
        Rc::new(Client::new(config, credentials, Http { port: self.port }))
    }

    /// Files in which the server keeps parts of uploads that are not complete.
    pub fn parts(&self) -> usize {
        files(&self.folder.join("data").join(BUCKET).join(".sgwtmp"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn run(folder: &Path, port: u16) -> Child {
    let program =
        std::env::var_os("SHIPHOLD_S3").expect("SHIPHOLD_S3 names no server: run `cargo xtask peers`");
    let mut child = Command::new(program)
        .args(["--access", ACCESS, "--secret", SECRET, "--region", "us-east-1", "--port"])
        .arg(format!("127.0.0.1:{port}"))
        .args(["--quiet", "posix", "--sidecar"])
        .arg(folder.join("meta"))
        .arg(folder.join("data"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..600 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return child;
        }
        assert!(child.try_wait().unwrap().is_none(), "the S3 server ended at once");
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the S3 server does not listen after a minute");
}

fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.map(|e| e.unwrap().path()).map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

pub struct Http {
    port: u16,
}

impl Transport for Http {
    fn send(&self, request: Request) -> Result<Response, Error> {
        exchange(self.port, &request).map_err(|e| Error::Unavailable(e.to_string()))
    }

    fn now(&self) -> i64 {
        i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
    }
}

fn exchange(port: u16, request: &Request) -> std::io::Result<Response> {
    let (_, rest) = request.url.split_once("://").unwrap();
    let (host, target) = rest.split_at(rest.find('/').unwrap());
    let mut head = format!("{} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n", request.method);
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", request.body.len()));
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(&request.body)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let early = || std::io::Error::other("the connection ended early");
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(early)?;
    let mut headers = Headers::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().into()));
    }
    assert!(!headers.iter().any(|(n, _)| n == "transfer-encoding"), "this client reads no chunks");
    let mut body = Vec::new();
    if request.method != "HEAD" {
        reader.read_to_end(&mut body)?;
    }
    Ok(Response { status, headers, body })
}
