//! The record on a disk of which the power goes, or that fills, at every operation.

use super::*;
use crate::testing::crash::{Report, Workload, fail_everywhere, lose_power_everywhere};
use crate::testing::{Disk, Fault, FaultVfs, Loss};
use std::path::Path;

#[derive(Clone, Copy)]
enum Step {
    /// A batch of so many fills of its own, from a second on.
    Fills(u64, i64, i64),
    /// A correction of the first fill of a batch.
    Correct(u64, u64),
    /// An order, an event of it and a fill, together with money.
    Order(u64),
    Split(i64),
    Rebuild,
    Maintain,
}

const STEPS: &[Step] = &[
    Step::Fills(1, 20, 0),
    Step::Order(2),
    Step::Fills(3, 10, 5),
    Step::Correct(4, 1),
    Step::Split(7),
    Step::Rebuild,
    Step::Fills(5, 3, 50),
    Step::Maintain,
    Step::Correct(6, 3),
];

struct Record;

struct Open {
    trades: Trades,
    audit: Audit,
    db: Arc<Database>,
}

fn step(open: &Open, index: usize) -> Result<()> {
    let record = |batch: Batch| open.trades.record(&OP, &Batch { account: "main".into(), ..batch }).map(drop);
    match STEPS[index] {
        Step::Fills(batch, count, from) => {
            let fill = |i| buy(&format!("{batch}-{i}"), "A", "2", "10", from + i);
            record(Batch { fills: (0..count).map(fill).collect(), ..Batch::default() })
        }
        Step::Correct(batch, of) => {
            let fill = corrects(&format!("{of}-0"), buy(&format!("{batch}-0"), "A", "5", "9", 1));
            record(Batch { fills: vec![fill], ..Batch::default() })
        }
        Step::Order(batch) => {
            let id = format!("o{batch}");
            record(Batch {
                orders: vec![limit(&id, Side::Buy, "10", 0)],
                events: vec![NewEvent {
                    order: id.clone(),
                    state: EventState::Accepted,
                    time: T,
                    reason: None,
                }],
                fills: vec![of(&id, buy(&format!("{batch}-0"), "A", "4", "10", 2))],
                cash: vec![deposit(&format!("{batch}-1"), "1000", 0)],
                ..Batch::default()
            })
        }
        Step::Split(at) => {
            let action = ActionKind::Split { new: 2, old: 1 };
            let new = NewAction { instrument: "A".into(), time: T + at * SECOND, action };
            open.trades.add_action(&OP, &new).map(drop)
        }
        Step::Rebuild => open.trades.rebuild(&OP, "main").map(drop),
        Step::Maintain => open.trades.maintain().map(drop),
    }
}

/// What there is after some steps: pieces, cost, cash, and the rows of the record.
type Known = (String, String, String, i64);

fn known(open: &Open) -> Result<Known> {
    let query = PositionsQuery { account: "main".into(), flat: true, ..PositionsQuery::default() };
    let all = open.trades.positions(&OP, &query)?;
    let (a, usd) = (all.positions.first(), all.balances.first());
    let rows = open
        .db
        .read(|c| Ok(c.query_row("SELECT coalesce(sum(rows), 0) FROM trade_batches", [], |r| r.get(0))?))?;
    Ok((
        a.map_or(String::new(), |p| p.quantity.to_string()),
        a.map_or(String::new(), |p| p.cost.to_string()),
        usd.map_or(String::new(), |b| b.cash.to_string()),
        rows,
    ))
}

/// The same after each number of steps, on a disk that nothing happens to.
fn expected() -> &'static [Known] {
    static EXPECTED: std::sync::OnceLock<Vec<Known>> = std::sync::OnceLock::new();
    EXPECTED.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let open = open_at(&dir.path().join("a.db"), Options::default()).unwrap();
        let mut all = vec![known(&open).unwrap()];
        for index in 0..STEPS.len() {
            step(&open, index).unwrap();
            all.push(known(&open).unwrap());
        }
        all
    })
}

fn open_at(path: &Path, options: Options) -> Result<Open> {
    let db = Arc::new(Database::open(path, options, MIGRATIONS)?);
    let trades = Trades::new(db.clone());
    set_up(&trades)?;
    Ok(Open { trades, audit: Audit::new(db.clone()), db })
}

fn matches(open: &Open, done: usize) -> std::result::Result<(), String> {
    let text = |e: crate::Error| format!("{e:?}");
    let have = known(open).map_err(text)?;
    if have != expected()[done] {
        return Err(format!("{have:?}, not {:?}", expected()[done]));
    }
    match open.audit.verify(&OP).map_err(text)?.broken {
        Some(broken) => Err(format!("{broken:?}")),
        None => Ok(()),
    }
}

impl Workload for Record {
    type Store = Open;

    fn open(&self, vfs: &str) -> Result<Open> {
        let options = Options { vfs: Some(vfs.into()), readers: 1, ..Options::default() };
        open_at(Path::new("/data/shiphold.db"), options)
    }
    fn steps(&self) -> usize {
        STEPS.len()
    }
    fn step(&self, open: &Open, index: usize) -> Result<()> {
        step(open, index)
    }
    fn check(&self, open: &Open, done: usize, in_flight: bool) -> std::result::Result<(), String> {
        let now = matches(open, done);
        if in_flight && now.is_err() {
            return matches(open, done + 1).map_err(|e| format!("{e}, and before: {now:?}"));
        }
        now
    }
    fn probe(&self, open: &Open) -> Result<()> {
        // Recorded and taken back, in an account of its own, whose rows `known` counts: so it only looks whether one may be written.
        open.trades.rebuild(&OP, "main")?;
        open.trades.maintain().map(drop)
    }
    fn repeatable(&self) -> bool {
        true
    }
}

fn image(name: &str) -> (Arc<FaultVfs>, Disk) {
    let vfs = FaultVfs::new(name).unwrap();
    drop(Record.open(vfs.name()).unwrap());
    let disk = vfs.disk();
    (vfs, disk)
}

fn sound(report: &Report) {
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.points >= 20, "{report:?}");
}

#[test]
fn power_lost_at_every_operation_loses_nothing_of_the_record() {
    let (vfs, disk) = image("trades-power");
    sound(&lose_power_everywhere(&vfs, &Record, &disk, (1, 3), &|n| match n % 3 {
        0 => vec![Loss::Unsynced, Loss::Tail(n)],
        1 => vec![Loss::Unsynced, Loss::Sectors(n)],
        _ => vec![Loss::Nothing, Loss::Unsynced],
    }));
}

#[test]
fn a_full_or_failing_disk_refuses_whole_batches() {
    let (vfs, disk) = image("trades-fail");
    for fault in [Fault::Full, Fault::Io] {
        sound(&fail_everywhere(&vfs, &Record, &disk, (1, 4), fault, false));
        sound(&fail_everywhere(&vfs, &Record, &disk, (2, 5), fault, true));
    }
}
