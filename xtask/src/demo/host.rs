//! The host of the example as another process: its command line, and the HTTP that a feed speaks.

use super::Fed;
use super::feed::{BATCH_LINES, Stream};
use crate::steps;
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where `examples/trader/shiphold.toml` listens.
pub const URL: &str = "http://127.0.0.1:8087";

/// The variable that the manifest's `[secrets.repository]` names.
const PASSWORD: &str = "SHIPHOLD_REPOSITORY_PASSWORD";

/// How long the host may take to answer, and to end.
const START_MAX: Duration = Duration::from_secs(30);

/// The command line of one host.
pub struct Cli {
    pub binary: PathBuf,
    manifest: PathBuf,
}

impl Cli {
    pub fn new(binary: PathBuf, manifest: PathBuf) -> Self {
        Self { binary, manifest }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--manifest").arg(&self.manifest).args(args);
        // The repository of the example; whoever keeps it sets a password of their own.
        if std::env::var_os(PASSWORD).is_none() {
            command.env(PASSWORD, "of the example alone");
        }
        command
    }

    /// Shows the command and what it prints.
    pub fn show(&self, args: &[&str]) -> Result<()> {
        eprintln!("\x1b[2m$ shiphold {}\x1b[0m", args.join(" "));
        steps::must(&mut self.command(args))
    }

    /// What a command says to a program.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let mut all = vec!["--json"];
        all.extend(args);
        let said = steps::output(&mut self.command(&all))?;
        serde_json::from_str(&said)
            .with_context(|| format!("`shiphold {}` printed no JSON: {said}", all.join(" ")))
    }
}

/// A host that runs as a child; ended when this is dropped.
pub struct Serving {
    child: Child,
    pub url: &'static str,
    agent: ureq::Agent,
}

/// Does a host answer there?
pub fn alive(url: &str) -> bool {
    agent().get(format!("{url}/ping")).call().is_ok()
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into()
}

impl Serving {
    pub fn start(cli: &Cli, folder: &Path) -> Result<Self> {
        let log = folder.join("serve.log");
        let out = std::fs::File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let mut command = cli.command(&["serve"]);
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| steps::shown(&command))?;
        let mut serving = Self { child, url: URL, agent: agent() };
        let begin = Instant::now();
        while !alive(URL) {
            if let Some(status) = serving.child.try_wait()? {
                bail!("the host ended with {status}: {}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            if begin.elapsed() > START_MAX {
                bail!("the host does not answer within {START_MAX:?}; see {}", log.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        println!("serving on {URL} after {} ms", begin.elapsed().as_millis());
        Ok(serving)
    }

    /// Sends one stream, a batch at a time, each acknowledged before the next.
    pub fn feed(&mut self, token: &str, stream: &Stream) -> Result<Fed> {
        let style = ProgressStyle::with_template("{prefix:<22} {bar:30} {pos:>8}/{len} lines  {per_sec}")
            .context("progress style")?;
        let bar = ProgressBar::new(stream.lines.len() as u64).with_style(style).with_prefix(stream.name);
        let url = format!("{URL}/api/v2/write?org=trader&bucket={}&precision=s", stream.bucket);
        let begin = Instant::now();
        for batch in stream.lines.chunks(BATCH_LINES) {
            let body = batch.join("\n");
            let mut answer = self
                .agent
                .post(&url)
                .header("Authorization", format!("Token {token}"))
                .send(body.as_bytes())
                .with_context(|| format!("sending {}", stream.name))?;
            if answer.status() != 204 {
                bail!(
                    "{}: HTTP {}: {}",
                    stream.name,
                    answer.status(),
                    answer.body_mut().read_to_string().unwrap_or_default()
                );
            }
            bar.inc(batch.len() as u64);
        }
        let took = begin.elapsed();
        bar.finish();
        println!("{:<22} {:>8} lines in {:.2} s", stream.name, stream.lines.len(), took.as_secs_f64());
        Ok(Fed { name: stream.name, rows: stream.lines.len(), took })
    }

    /// Asks the host to end, as an operator would, and waits for it.
    pub fn stop(mut self) -> Result<()> {
        steps::must(Command::new("kill").arg("-TERM").arg(self.child.id().to_string()))?;
        let begin = Instant::now();
        let status = self.child.wait().context("waiting for the host")?;
        println!("the host ended after {} ms: {status}", begin.elapsed().as_millis());
        if !status.success() {
            bail!("the host did not end cleanly: {status}");
        }
        Ok(())
    }

    /// Until the host is ended (Ctrl-C reaches it too).
    pub fn wait(mut self) -> Result<()> {
        self.child.wait().context("waiting for the host")?;
        Ok(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
