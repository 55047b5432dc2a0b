//! A commit over all stores before a real InfluxDB that is stopped at every step of it, and a host that is killed there.

use super::*;
use crate::caller::Caller;
use crate::commits::tests::{Ends, TOML, commit, seen, seen_in};
use crate::commits::{Commit, CommitRows, Committed};
use crate::layer::DataLayer;
use crate::layer::tests::{layer_over, manifest};
use crate::series::Value;
use crate::series::influx::InfluxEngine;
use crate::series::line_protocol::Precision;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const OP: Caller = Caller::Operator;
/// How long a step may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a commit is between nothing of it and all of it on the server, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Its objects are on the disk, without a name, and the outbox said that it takes the rows.
    Checked,
    /// Its transaction is durable.
    Made,
    /// The outbox has its rows, which is not noted.
    Taken,
    Answered,
    /// The next thing is a request to the server.
    Sending,
    /// The server has the rows, and the outbox does not know.
    Sent,
    /// The outbox forgot them.
    Delivered,
}

const STEPS: [Step; 7] =
    [Step::Checked, Step::Made, Step::Taken, Step::Answered, Step::Sending, Step::Sent, Step::Delivered];

/// What happens when a step is reached the next time.
#[derive(Default)]
struct Stops(Mutex<Option<Stop>>);

type Stop = (Step, Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Stops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stops")
    }
}

impl Stops {
    fn at(&self, step: Step, then: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some((step, Box::new(then)));
    }
    fn reach(&self, step: Step) {
        // Held until it has happened: who asks whether it is reached waits for that.
        let mut stop = self.0.lock().unwrap();
        if let Some((_, then)) = stop.take_if(|(at, _)| *at == step) {
            then();
        }
    }
    fn is_reached(&self) -> bool {
        self.0.lock().unwrap().is_none()
    }
}

/// The server, with stops on the way to it.
#[derive(Debug)]
struct Way(InfluxEngine, Arc<Stops>);

impl Target for Way {
    fn engine(&self) -> &dyn SeriesEngine {
        &self.0
    }
    fn types(&self, bucket: &str, measurements: &[&str]) -> Result<Vec<Fields>> {
        Target::types(&self.0, bucket, measurements)
    }
    fn deliver(&self, batch: &WriteBatch, checked: bool, budget: &Budget) -> Delivery {
        self.1.reach(Step::Sending);
        let said = self.0.deliver(batch, checked, budget);
        self.1.reach(Step::Sent);
        said
    }
}

/// The outbox, with stops on the way to it.
#[derive(Debug)]
struct Stopping(Arc<Outbox>, Arc<Stops>);

impl SeriesEngine for Stopping {
    fn takes(&self, batch: &WriteBatch) -> Result<()> {
        self.0.takes(batch)?;
        self.1.reach(Step::Checked);
        Ok(())
    }
    fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        self.1.reach(Step::Made);
        let said = self.0.write(batch)?;
        self.1.reach(Step::Taken);
        Ok(said)
    }
    fn scan(&self, k: &SeriesKey, r: TimeRange, f: Option<&[String]>, b: &Budget) -> Result<FrameStream> {
        self.0.scan(k, r, f, b)
    }
    fn delete_within(&self, selector: &Selector, range: TimeRange, budget: &Budget) -> Result<DeleteReport> {
        self.0.delete_within(selector, range, budget)
    }
    fn latest_within(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
        self.0.latest_within(selector, budget)
    }
    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        self.0.list(selector)
    }
    fn choose(&self, selector: &Selector, budget: &Budget) -> Result<Vec<SeriesInfo>> {
        self.0.choose(selector, budget)
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn stats(&self) -> Result<EngineStats> {
        self.0.stats()
    }
    fn seal(&self) -> Result<()> {
        self.0.seal()
    }
    fn compact(&self) -> Result<CompactReport> {
        self.0.compact()
    }
    fn verify(&self, budget: &Budget) -> Result<Vec<Fault>> {
        self.0.verify(budget)
    }
}

/// A host over a server.
struct Stand {
    layer: Arc<DataLayer>,
    outbox: Arc<Outbox>,
    stops: Arc<Stops>,
}

impl Stand {
    fn open(url: &str, dir: &Path) -> Self {
        let stops = Arc::<Stops>::default();
        let way = Way(engine(url, Influxd::ORG, Influxd::TOKEN, 20_000), stops.clone());
        let options = OutboxOptions {
            manual: false,
            batch_wait: Duration::from_millis(20),
            synchronous: Synchronous::Full,
            ..options()
        };
        let outbox = Arc::new(Outbox::open(Arc::new(way), &dir.join("outbox.db"), options).unwrap());
        let stopping = Arc::new(Stopping(outbox.clone(), stops.clone()));
        let m = manifest(dir, TOML);
        Self { layer: layer_over(&m, Some(stopping)).0, outbox, stops }
    }

    fn make(&self, n: i64) -> Result<Committed> {
        let keyed = Commit { idempotency_key: Some(format!("run-{n}")), ..commit(n) };
        let made = self.layer.commit(&OP, &keyed);
        if made.is_ok() {
            self.stops.reach(Step::Answered);
        }
        made
    }

    /// Waits until the server has everything.
    fn deliver(&self) {
        let begin = Instant::now();
        while let Err(e) = self.outbox.seal() {
            assert!(begin.elapsed() < PATIENCE, "{e:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.stops.reach(Step::Delivered);
    }
}

/// The rows of commits as the server itself has them: each series one row, of the newest.
fn server_has(server: &Influxd, n: i64) {
    let direct = engine(&server.url(), Influxd::ORG, Influxd::TOKEN, 20_000);
    for measurement in ["signal.pullback", "signal.other"] {
        let found = rows(&direct, &SeriesKey::new("market", measurement, vec![]).unwrap()).unwrap();
        assert_eq!(found, [(1_000, Row::from([("n".into(), Value::Integer(n))]))], "{measurement}");
    }
}

/// Looks at all stores, in another order each time: later looks are never older, whatever a look may fail for.
fn look_until(layer: &DataLayer, over: &AtomicBool) -> (u64, u64) {
    let (mut looks, mut refused) = (0_usize, 0);
    while !over.load(Ordering::SeqCst) {
        let mut newest = 0;
        for at in 0..5 {
            let store = (looks + at) % 5;
            match seen_in(layer, store) {
                Ok(now) => {
                    assert!(now >= newest, "store {store} says {now} after {newest} was seen");
                    newest = now;
                }
                Err(e) => {
                    assert_eq!((store, e.kind()), (0, Kind::Unavailable), "{e:?}");
                    refused += 1;
                }
            }
        }
        looks += 1;
    }
    (looks as u64, refused)
}

#[test]
fn influxdb_is_stopped_at_every_step_of_a_commit() {
    let (server, dir) = (Arc::new(Mutex::new(Influxd::start())), tempfile::tempdir().unwrap());
    let url = server.lock().unwrap().url();
    let stand = Stand::open(&url, dir.path());
    stand.make(1).unwrap();
    stand.deliver();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| look_until(&stand.layer, &over))).collect();
        let ends = Ends(&over);
        for (n, step) in (2..).zip(STEPS) {
            let stopped = server.clone();
            stand.stops.at(step, move || stopped.lock().unwrap().kill());
            // It is made whether the server is there or not: what its fields are is known.
            assert!(!stand.make(n).unwrap().replayed, "{step:?}");
            if step == Step::Delivered {
                stand.deliver();
            }
            let begin = Instant::now();
            while !stand.stops.is_reached() {
                assert!(begin.elapsed() < PATIENCE, "{step:?} does not come");
                std::thread::sleep(Duration::from_millis(1));
            }
            // Of the stores that answer each has all of it, and the one that cannot gives nothing.
            for store in 1..5 {
                assert_eq!(seen_in(&stand.layer, store).unwrap(), n, "{step:?}, store {store}");
            }
            assert_eq!(seen_in(&stand.layer, 0).unwrap_err().kind(), Kind::Unavailable, "{step:?}");
            assert!(stand.make(n).unwrap().replayed, "{step:?}");
            // A field that nobody asked about yet could be of another type: all of it is refused, and nothing made.
            let unknown = Commit {
                series: vec![CommitRows {
                    bucket: None,
                    lines: format!("signal.new{n} n=1i 1"),
                    precision: Precision::Ns,
                }],
                ..commit(n + 1)
            };
            let refused = stand.layer.commit(&OP, &unknown).unwrap_err();
            assert!(refused.kind() == Kind::Unavailable && refused.hint_text().is_some(), "{refused:?}");
            server.lock().unwrap().restart();
            stand.deliver();
            assert_eq!(seen(&stand.layer), [n; 7], "{step:?}");
            server_has(&server.lock().unwrap(), n);
        }
        drop(ends);
        for reader in readers {
            let (looks, refused) = reader.join().unwrap();
            assert!(looks > 20 && refused > 0, "{looks} looks, {refused} refused");
        }
    });
    // What is written after a commit stays: no later start delivers its rows again.
    let lines = b"signal.pullback n=99i 1000\nsignal.other n=99i 1000";
    stand.layer.series().write_lines(&OP, "market", lines, Precision::Ns).unwrap();
    stand.deliver();
    drop(stand);
    let stand = Stand::open(&url, dir.path());
    stand.deliver();
    server_has(&server.lock().unwrap(), 99);
    let stats = stand.outbox.stats().unwrap();
    assert_eq!((stats.outbox_records, stats.outbox_refused), (0, 0));
}

/// What the host of [`a_host_is_killed_at_every_step_of_a_commit`] is told, by the environment.
const CHILD: [&str; 4] =
    ["SHIPHOLD_TEST_FOLDER", "SHIPHOLD_TEST_URL", "SHIPHOLD_TEST_COMMIT", "SHIPHOLD_TEST_STEP"];
/// The file that says that the step is reached.
const REACHED: &str = "reached";

/// A host in a process of its own, which makes a commit and stands still at a step of it.
fn start_child(dir: &Path, url: &str, n: i64, step: usize) -> Child {
    let _ = std::fs::remove_file(dir.join(REACHED));
    let log = std::fs::File::create(dir.join("child.log")).unwrap();
    let (_, here) = module_path!().split_once("::").unwrap();
    let values = [dir.display().to_string(), url.into(), n.to_string(), step.to_string()];
    Command::new(std::env::current_exe().unwrap())
        .arg(format!("{here}::a_host_is_killed_at_every_step_of_a_commit"))
        .args(["--exact", "--nocapture"])
        .envs(CHILD.iter().zip(values))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn be_the_child(told: &[String]) {
    let dir = Path::new(&told[0]).to_path_buf();
    let stand = Stand::open(&told[1], &dir);
    stand.stops.at(STEPS[told[3].parse::<usize>().unwrap()], move || {
        std::fs::write(dir.join(REACHED), "").unwrap();
        // Until the kill.
        std::thread::sleep(PATIENCE * 2);
    });
    stand.make(told[2].parse().unwrap()).unwrap();
    stand.deliver();
    // The step is one of the thread that delivers.
    std::thread::sleep(PATIENCE * 2);
    panic!("nobody killed the host");
}

#[test]
fn a_host_is_killed_at_every_step_of_a_commit() {
    let told: Vec<String> = CHILD.iter().filter_map(|name| std::env::var(name).ok()).collect();
    if told.len() == CHILD.len() {
        return be_the_child(&told);
    }
    let (mut server, dir) = (Influxd::start(), tempfile::tempdir().unwrap());
    let stand = Stand::open(&server.url(), dir.path());
    stand.make(1).unwrap();
    stand.deliver();
    drop(stand);
    let mut n = 1;
    for (at, step) in STEPS.into_iter().enumerate() {
        for stop_server in [false, true] {
            n += 1;
            let mut child = start_child(dir.path(), &server.url(), n, at);
            let begin = Instant::now();
            while !dir.path().join(REACHED).exists() {
                let ended = child.try_wait().unwrap();
                let log = || std::fs::read_to_string(dir.path().join("child.log")).unwrap_or_default();
                assert!(ended.is_none() && begin.elapsed() < PATIENCE, "{step:?}, {ended:?}: {}", log());
                std::thread::sleep(Duration::from_millis(5));
            }
            if stop_server {
                server.kill();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            if stop_server {
                server.restart();
            }
            let stand = Stand::open(&server.url(), dir.path());
            let is_made = step != Step::Checked;
            assert_eq!(seen(&stand.layer), [n - i64::from(!is_made); 7], "{step:?}, server {stop_server}");
            // Sent again because no answer came: it is made once.
            assert_eq!(stand.make(n).unwrap().replayed, is_made, "{step:?}");
            assert_eq!(seen(&stand.layer), [n; 7], "{step:?}");
            stand.deliver();
            server_has(&server, n);
            let report = stand.layer.verify(&OP, &mut |_| ()).unwrap();
            assert!(report.ok, "{step:?}: {report:?}");
        }
    }
}
