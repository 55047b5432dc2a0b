//! Line protocol over HTTP into the real binary: client and server share the machine's cores.

use crate::data;
use crate::machine::memory_mib;
use crate::{Run, Table};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BATCH_LINES: usize = 10_000;

pub fn run(run: &Run, table: &mut Table) {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut manifest = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    if let Some(guests) = std::env::var_os("SHIPHOLD_GUESTS") {
        let component = Path::new(&guests).join("retention.wasm");
        manifest.push_str(&format!(
            "[plugins.retention]\ncomponent = \"{}\"\nworld = \"retention-policy\"\n[plugins.retention.grants.series]\nread = [\"*/*\"]\n",
            component.display()
        ));
    }
    std::fs::write(dir.path().join("shiphold.toml"), manifest).unwrap();
    let command = |args: &[&str]| {
        let mut c = Command::new(env!("CARGO_BIN_EXE_shiphold"));
        c.current_dir(dir.path()).args(args).stdin(Stdio::null());
        c
    };
    let token = command(&["--json", "tokens", "create", "bench", "--scope", "write"]).output().unwrap();
    let token: serde_json::Value = serde_json::from_slice(&token.stdout).unwrap();
    let token = token["token"].as_str().unwrap();
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let mut host = Host(command(&["serve"]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    let mut connection = Connection::open(port);
    std::thread::sleep(Duration::from_secs(2));
    let (rest, _) = memory_mib(host.0.id());
    table.cost("host at rest, example plugin loaded", "MiB", rest, None, "60");

    let per_symbol = run.size(50_000, 5_000);
    let bodies = data::bodies(&data::bars(per_symbol), BATCH_LINES);
    println!(
        "\n{} lines in batches of {BATCH_LINES}, one connection, each batch durable when answered.",
        per_symbol * data::SYMBOLS
    );
    let begin = Instant::now();
    for body in &bodies {
        connection.post(token, body);
    }
    let rate = (per_symbol * data::SYMBOLS) as f64 / begin.elapsed().as_secs_f64();
    table.rate("line protocol over HTTP", "lines/s", rate, None, "500,000");

    if !run.quick {
        // The same rows nine more times would be stored once: move them on instead.
        let mut bars = data::bars(per_symbol);
        for _ in 1..10 {
            let span = per_symbol as i64 * data::MINUTE_NS;
            bars.iter_mut().for_each(|b| b.times.iter_mut().for_each(|t| *t += span));
            for body in data::bodies(&bars, BATCH_LINES) {
                connection.post(token, &body);
            }
        }
        let (_, peak) = memory_mib(host.0.id());
        table.cost("peak of the host while 10 M rows came in", "MiB", peak, None, "400");
    }
    host.0.kill().unwrap();
}

struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One kept-alive connection.
struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn open(port: u16) -> Self {
        let begin = Instant::now();
        loop {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                stream.set_nodelay(true).unwrap();
                let reader = BufReader::new(stream.try_clone().unwrap());
                return Self { stream, reader };
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "the host does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn post(&mut self, token: &str, body: &str) {
        let head = format!(
            "POST /api/v2/write?bucket=market HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {token}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all(head.as_bytes()).unwrap();
        self.stream.write_all(body.as_bytes()).unwrap();
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
        assert!(status.contains(" 204 "), "{status}{}", String::from_utf8_lossy(&answer));
    }
}
