//! Backups in a bucket of a real S3 server, read, checked and restored by a real restic.

use crate::support::{Host, guests, root};
use crate::targets::{comes_back, fill};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const ACCESS: &str = "shiphold-test";
const SECRET: &str = "a-secret-key-of-a-test";
const PASSWORD: &str = "correct horse battery staple";

fn program(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask peers`"))
        .into()
}

struct Server {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for inside in ["meta", "data/backups"] {
            std::fs::create_dir_all(folder.path().join(inside)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Self::run(folder.path(), port);
        Self { child, port, folder }
    }

    fn run(folder: &Path, port: u16) -> Child {
        let mut child = Command::new(program("SHIPHOLD_S3"))
            .args(["--access", ACCESS, "--secret", SECRET, "--region", "us-east-1", "--port"])
            .arg(format!("127.0.0.1:{port}"))
            .args(["--quiet", "posix", "--sidecar"])
            .arg(folder.join("meta"))
            .arg(folder.join("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return child;
            }
            assert!(child.try_wait().unwrap().is_none(), "the S3 server ended at once");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("the S3 server does not listen after a minute");
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = Self::run(self.folder.path(), self.port);
    }

    /// What restic prints; it must end well.
    fn restic(&self, args: &[&str]) -> String {
        let out = Command::new(program("SHIPHOLD_RESTIC"))
            .args(["--no-cache", "-r", &format!("s3:http://127.0.0.1:{}/backups/repo", self.port)])
            .args(args)
            .env("RESTIC_PASSWORD", PASSWORD)
            .env("AWS_ACCESS_KEY_ID", ACCESS)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "restic {args:?}: {said}{}", String::from_utf8_lossy(&out.stderr));
        said
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with_bucket(port: u16, secret: &str, limits: &str) -> Host {
    let here = format!("http://127.0.0.1:{port}");
    let http = ["GET", "HEAD", "POST", "PUT", "DELETE"].map(|m| format!("\"{m} {here}\"")).join(", ");
    let manifest = format!(
        r#"[files.models]
kind = "models"
[secrets.repository]
env = "REPOSITORY_PASSWORD"
[secrets.access]
env = "BUCKET_ACCESS"
[secrets.secret]
env = "BUCKET_SECRET"
[plugins.bucket]
component = "{}"
world = "backup-target"
[plugins.bucket.grants]
http = [{http}]
secrets = ["access", "secret"]
clock = true
[plugins.bucket.limits]
deadline = "20 s"
{limits}
[plugins.bucket.config]
endpoint = "{here}"
bucket = "backups"
region = "us-east-1"
prefix = "repo"
part_mib = 5
access_key = "access"
secret_key = "secret"
[backup.nightly]
plugin = "bucket"
password = "repository"
"#,
        guests().join("s3-target.wasm").display()
    );
    Host::new()
        .with(&manifest)
        .with_env("REPOSITORY_PASSWORD", PASSWORD)
        .with_env("BUCKET_ACCESS", ACCESS)
        .with_env("BUCKET_SECRET", secret)
}

#[test]
fn a_backup_in_a_bucket_is_one_that_restic_reads_checks_and_restores() {
    let server = Server::start();
    let mut host = with_bucket(server.port, SECRET, "");
    fill(&mut host);
    // Large enough for an upload in several parts.
    let mut state = 1_u32;
    let large: Vec<u8> = (0..12 << 20)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let file = host.path().join("large");
    std::fs::write(&file, &large).unwrap();
    host.run(&["files", "put", "models", "large/1", file.to_str().unwrap()]).ok();

    let pushed = host.run(&["--json", "backup", "push", "nightly"]).json();
    assert!(pushed["snapshot"]["added_bytes"].as_u64().unwrap() > 12 << 20, "{pushed}");
    let id = pushed["snapshot"]["id"].as_str().unwrap().get(..8).unwrap();
    assert!(server.restic(&["snapshots"]).contains(id));
    assert!(server.restic(&["check", "--read-data"]).contains("no errors were found"));
    let to = host.path().join("by-restic");
    server.restic(&["restore", "latest", "--target", to.to_str().unwrap()]);
    host.run(&["backup", "check", to.join("shiphold").to_str().unwrap()]).ok();
    comes_back(&host, "latest");

    // What restic locks, this host leaves alone; what it forgets, is gone here too.
    let again = host.run(&["--json", "backup", "push", "nightly"]).json();
    assert!(again["snapshot"]["added_bytes"].as_u64().unwrap() < 200_000, "{again}");
    server.restic(&["forget", "--keep-last", "1", "--prune"]);
    let left = host.run(&["--json", "backup", "snapshots", "nightly"]).json();
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert!(host.run(&["backup", "verify", "nightly", "--read-data"]).ok().contains("is whole"));
}

#[test]
fn a_bucket_keeps_every_rule_of_a_backup_target() {
    let server = Server::start();
    let project = tempfile::tempdir().unwrap();
    std::fs::create_dir(project.path().join("tests")).unwrap();
    std::fs::copy(root().join("plugins/s3-target/plugin.toml"), project.path().join("plugin.toml")).unwrap();
    std::fs::copy(root().join("plugins/s3-target/Cargo.toml"), project.path().join("Cargo.toml")).unwrap();
    let here = format!("http://127.0.0.1:{}", server.port);
    let http = ["GET", "HEAD", "POST", "PUT", "DELETE"].map(|m| format!("\"{m} {here}\"")).join(", ");
    let fixture = format!(
        r#"[config]
endpoint = "{here}"
bucket = "backups"
region = "us-east-1"
prefix = "repo"
access_key = "access"
secret_key = "secret"
[grants]
http = [{http}]
secrets = ["access", "secret"]
clock = true
[secrets]
access = "{ACCESS}"
secret = "{SECRET}"
[expect]
contract = true
"#
    );
    std::fs::write(project.path().join("tests/contract.toml"), fixture).unwrap();
    let component = guests().join("s3-target.wasm");
    let mut command = crate::support::binary();
    command.args(["plugins", "test"]).arg(project.path()).arg("--component").arg(component);
    let said: crate::support::Said = command.output().unwrap().into();
    assert!(said.ok().contains("1 passed, 0 failed"), "{said:?}");
}

#[test]
fn a_wrong_key_is_refused_by_the_server_and_told_without_the_secret() {
    let server = Server::start();
    let mut host = with_bucket(server.port, "a-secret-key-that-is-wrong", "");
    fill(&mut host);
    let said = host.run(&["backup", "push", "nightly"]);
    said.fails(1, &["bucket"]);
    assert!(!said.err.contains("a-secret-key-that-is-wrong"), "{said:?}");
    let runs = host.run(&["--json", "plugins", "runs", "bucket"]).ok().to_string();
    assert!(!runs.contains("a-secret-key-that-is-wrong"), "{runs}");
    assert!(
        server.folder.path().join("data/backups").read_dir().unwrap().next().is_none(),
        "nothing was stored"
    );
}

#[test]
fn a_server_that_went_away_ends_the_push_and_the_next_one_makes_it_good() {
    let mut server = Server::start();
    let mut host = with_bucket(server.port, SECRET, "");
    fill(&mut host);
    host.run(&["backup", "push", "nightly"]).ok();
    server.kill();
    host.run(&["backup", "push", "nightly"]).fails(1, &["bucket"]);
    assert_eq!(host.http("GET", "/health", None, b"").status, 200);
    server.restart();
    host.run(&["plugins", "enable", "bucket"]).ok();
    host.run(&["backup", "push", "nightly"]).ok();
    server.restic(&["check", "--read-data"]);
}

#[test]
fn a_bucket_on_an_address_that_the_grant_does_not_name_is_not_reached() {
    let server = Server::start();
    let mut host = with_bucket(server.port, SECRET, "");
    let port = server.port;
    host.edit(|manifest| {
        manifest.replace(
            &format!("endpoint = \"http://127.0.0.1:{port}\""),
            &format!("endpoint = \"http://localhost:{port}\""),
        )
    });
    fill(&mut host);
    host.run(&["backup", "push", "nightly"]).fails(1, &["no `http` grant", "localhost"]);
}
