//! The steps of the test command, one after another or side by side, and the table of what became of them.

use crate::steps;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How a step ended.
enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Where the programs of a step print to: the terminal, or a file when other steps run beside it.
pub struct Out {
    file: Option<File>,
}

impl Out {
    /// Runs to the end; a failure names the command.
    pub fn must(&self, command: &mut Command) -> Result<()> {
        if let Some(file) = &self.file {
            let place = || file.try_clone().context("sharing the file of a step's output");
            command.stdout(place()?).stderr(place()?);
        }
        steps::must(command)
    }
}

/// What a step does.
type Job<'a> = Box<dyn FnOnce(&Out) -> Result<()> + Send + 'a>;

/// A step that others may run beside.
pub struct Step<'a> {
    name: &'static str,
    /// Or why it is not done.
    job: Result<Job<'a>, Outcome>,
}

impl<'a> Step<'a> {
    pub fn new(name: &'static str, job: impl FnOnce(&Out) -> Result<()> + Send + 'a) -> Self {
        Self { name, job: Ok(Box::new(job)) }
    }

    /// A step that needs a peer; without it, it is skipped, or failed if it is required.
    pub fn part(
        name: &'static str,
        present: bool,
        require: &[String],
        job: impl FnOnce(&Out) -> Result<()> + Send + 'a,
    ) -> Self {
        if present {
            return Self::new(name, job);
        }
        let why = format!("{name} is not installed: run `cargo xtask peers`");
        let outcome = match require.iter().any(|r| r == name) {
            true => Outcome::Failed(format!("required, but {why}")),
            false => Outcome::Skipped(why),
        };
        Self { name, job: Err(outcome) }
    }

    fn run(self, out: &Out) -> Row {
        let begin = Instant::now();
        let outcome = match self.job {
            Err(outcome) => outcome,
            Ok(job) => match job(out) {
                Ok(()) => Outcome::Passed,
                Err(e) => Outcome::Failed(format!("{e:#}")),
            },
        };
        Row { name: self.name, outcome, took: begin.elapsed() }
    }
}

struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

impl Row {
    fn tell(&self) {
        if let Outcome::Failed(why) = &self.outcome {
            eprintln!("error: {why}");
        }
    }
}

/// The table.
pub struct Report<'a> {
    only: Option<&'a str>,
    rows: Vec<Row>,
}

impl<'a> Report<'a> {
    /// Only the steps whose name contains `only`.
    pub fn new(only: Option<&'a str>) -> Self {
        Self { only, rows: Vec::new() }
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_none_or(|only| name.contains(only))
    }

    pub fn step(&mut self, name: &'static str, f: impl FnOnce() -> Result<()>) {
        self.step_for(name, &[], f);
    }

    /// A step that others need: it runs with them too.
    pub fn step_for(&mut self, name: &'static str, needed_by: &[&str], f: impl FnOnce() -> Result<()>) {
        if !needed_by.iter().chain([&name]).any(|n| self.wants(n)) {
            return;
        }
        steps::say(name);
        let begin = Instant::now();
        let outcome = match f() {
            Ok(()) => Outcome::Passed,
            Err(e) => Outcome::Failed(format!("{e:#}")),
        };
        let row = Row { name, outcome, took: begin.elapsed() };
        row.tell();
        self.rows.push(row);
    }

    /// Steps that have nothing to do with each other, `lanes` of them at a time, in the order in which they stand in the
    /// table. What one prints is kept in a file of `folder` and shown when it ends: it reads as if nothing had run beside it.
    pub fn side_by_side(&mut self, folder: &Path, lanes: usize, steps: Vec<Step<'_>>) -> Result<()> {
        let steps: Vec<Step<'_>> = steps.into_iter().filter(|s| self.wants(s.name)).collect();
        if steps.iter().filter(|s| s.job.is_ok()).count() < 2 {
            for step in steps {
                if step.job.is_ok() {
                    steps::say(step.name);
                }
                let row = step.run(&Out { file: None });
                row.tell();
                self.rows.push(row);
            }
            return Ok(());
        }
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let count = steps.len();
        let queue = Mutex::new(steps.into_iter().enumerate());
        let done = Mutex::new(Vec::with_capacity(count));
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        std::thread::scope(|scope| {
            for _ in 0..lanes.clamp(1, count) {
                scope.spawn(|| {
                    while let Some((at, step)) = next() {
                        let row = kept(folder, step);
                        // The lock holds the terminal too: what two steps said is not mixed.
                        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                        show(folder, &row);
                        done.push((at, row));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(at, _)| *at);
        self.rows.extend(done.into_iter().map(|(_, row)| row));
        Ok(())
    }

    pub fn finish(self) -> Result<()> {
        let count = |f: fn(&Outcome) -> bool| self.rows.iter().filter(|r| f(&r.outcome)).count();
        let passed = count(|o| matches!(o, Outcome::Passed));
        let failed = count(|o| matches!(o, Outcome::Failed(_)));
        let skipped = count(|o| matches!(o, Outcome::Skipped(_)));
        println!("\n{:<18} {:<8} {:>8}  why", "step", "result", "time");
        for Row { name, outcome, took } in &self.rows {
            let (result, why) = match outcome {
                Outcome::Passed => ("passed", ""),
                Outcome::Failed(why) => ("FAILED", why.lines().next().unwrap_or_default()),
                Outcome::Skipped(why) => ("skipped", why.as_str()),
            };
            println!("{name:<18} {result:<8} {:>6.1} s  {why}", took.as_secs_f64());
        }
        println!("\n{passed} passed, {failed} failed, {skipped} skipped");
        if failed > 0 {
            bail!("{failed} step{} failed", if failed == 1 { "" } else { "s" });
        }
        if passed == 0 {
            bail!("no step ran");
        }
        Ok(())
    }
}

fn place(folder: &Path, name: &str) -> PathBuf {
    folder.join(name.replace(' ', "-")).with_extension("log")
}

/// Runs a step whose output goes to its file.
fn kept(folder: &Path, step: Step<'_>) -> Row {
    if step.job.is_err() {
        return step.run(&Out { file: None });
    }
    let path = place(folder, step.name);
    steps::say(&format!("{} (beside others; {})", step.name, path.display()));
    // Appended to, for several programs write to it; so what an earlier run left goes first.
    let _ = std::fs::remove_file(&path);
    match File::options().append(true).create(true).open(&path) {
        Ok(file) => step.run(&Out { file: Some(file) }),
        Err(e) => {
            let outcome = Outcome::Failed(format!("creating {}: {e}", path.display()));
            Row { name: step.name, outcome, took: Duration::ZERO }
        }
    }
}

/// What a step that ran beside others printed.
fn show(folder: &Path, row: &Row) {
    if matches!(row.outcome, Outcome::Skipped(_)) {
        return;
    }
    let said = std::fs::read(place(folder, row.name)).unwrap_or_default();
    steps::say(&format!("{} took {:.1} s", row.name, row.took.as_secs_f64()));
    let _ = std::io::stderr().write_all(&said);
    row.tell();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    fn folder() -> PathBuf {
        let mut name = std::thread::current().name().unwrap_or_default().replace("::", "-");
        name.push_str(&std::process::id().to_string());
        std::env::temp_dir().join(name)
    }

    fn outcomes(report: &Report<'_>) -> Vec<(&'static str, &'static str)> {
        let word = |o: &Outcome| match o {
            Outcome::Passed => "passed",
            Outcome::Failed(_) => "failed",
            Outcome::Skipped(_) => "skipped",
        };
        report.rows.iter().map(|r| (r.name, word(&r.outcome))).collect()
    }

    #[test]
    fn steps_run_beside_each_other_and_keep_their_order_and_words() {
        let (folder, both) = (folder(), Barrier::new(2));
        let says = |word: &'static str| {
            let both = &both;
            move |out: &Out| {
                // Neither could pass alone.
                both.wait();
                out.must(Command::new("sh").args(["-c", &format!("echo {word}; echo {word} >&2")]))?;
                out.must(Command::new("echo").arg("and more"))
            }
        };
        let fails = |out: &Out| out.must(&mut Command::new("false"));
        let mut report = Report::new(None);
        let steps = vec![
            Step::new("one", says("first")),
            Step::new("the other", says("second")),
            Step::new("wrong", fails),
            Step::part("s3", false, &[], |_| Ok(())),
            Step::part("node", false, &["node".into()], |_| Ok(())),
        ];
        report.side_by_side(&folder, 2, steps).unwrap();
        let said = |name: &str| std::fs::read_to_string(place(&folder, name)).unwrap();
        assert_eq!(said("one"), "first\nfirst\nand more\n");
        assert_eq!(said("the other"), "second\nsecond\nand more\n");
        let want = [
            ("one", "passed"),
            ("the other", "passed"),
            ("wrong", "failed"),
            ("s3", "skipped"),
            ("node", "failed"),
        ];
        assert_eq!(outcomes(&report), want);
        assert!(report.finish().unwrap_err().to_string().contains("2 steps failed"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn only_what_is_asked_for_runs_and_what_it_needs() {
        let folder = folder();
        let mut report = Report::new(Some("one"));
        report.step_for("build", &["one", "two"], || Ok(()));
        report.step("format", || bail!("it was not asked for"));
        let refused = |_: &Out| bail!("it was not asked for");
        let steps = vec![Step::new("one", |_| Ok(())), Step::new("two", refused)];
        report.side_by_side(&folder, 2, steps).unwrap();
        assert_eq!(outcomes(&report), [("build", "passed"), ("one", "passed")]);
        assert!(!folder.exists(), "a step alone prints to the terminal");
        assert!(Report::new(Some("nothing")).finish().is_err());
    }
}
