//! The trading record: durable fills through the batch route, and positions as of any moment.

use super::{OP, percentile};
use crate::host::Host;
use crate::{Run, Table};
use shiphold_storage::DataLayer;
use shiphold_storage::testing::random::Random;
use shiphold_storage::trades::{
    Account, Batch, InstrumentKind, NewFill, NewInstrument, Number, PositionsQuery, Side,
};
use std::time::Instant;

const INSTRUMENTS: usize = 1_000;
const BATCH: usize = 1_000;
/// When the first of them is filled, and how far the next ones are.
const BEGIN_NS: i64 = 1_704_153_600_000_000_000;
const STEP_NS: i64 = 20_000_000;

pub fn run(run: &Run, table: &mut Table) {
    let fills = run.size(1_000_000, 20_000);
    let host = Host::new("");
    let layer = DataLayer::open(&host.manifest()).unwrap();
    layer
        .trades()
        .open_account(&OP, &Account { name: "main".into(), currency: "USD".into(), broker: None })
        .unwrap();
    for i in 0..INSTRUMENTS {
        let new = NewInstrument {
            name: name(i),
            kind: InstrumentKind::Equity,
            currency: "USD".into(),
            multiplier: Number::ONE,
            tick: Number::ZERO,
            lot: Number::ZERO,
            bucket: None,
            measurement: None,
        };
        layer.trades().add_instrument(&OP, &new).unwrap();
    }
    let mut random = Random::new(7);
    let begin = Instant::now();
    let mut recording = 0.0;
    for first in (0..fills).step_by(BATCH) {
        let fills = (first..first + BATCH).map(|i| fill(&mut random, i)).collect();
        let batch = Batch { account: "main".into(), fills, ..Batch::default() };
        let begin = Instant::now();
        layer.trades().record(&OP, &batch).unwrap();
        recording += begin.elapsed().as_secs_f64();
    }
    table.note(format!(
        "{fills} fills of {INSTRUMENTS} instruments in one account, in batches of {BATCH} that are synced before they return, each with an \
         entry of the audit trail; with making them it took {:.0} s. Positions are of all instruments, with cost, profit and cash, as of \
         random moments.",
        begin.elapsed().as_secs_f64()
    ));
    table.rate("fills recorded, in batches", "/s", fills as f64 / recording, None, "10,000");
    let mut times = Vec::new();
    for _ in 0..run.size(200, 20) {
        let at = BEGIN_NS + random.between(0, fills as i64) * STEP_NS;
        let query =
            PositionsQuery { account: "main".into(), at: Some(at), flat: true, ..PositionsQuery::default() };
        let begin = Instant::now();
        let held = layer.trades().positions(&OP, &query).unwrap();
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        assert!(held.positions.len() <= INSTRUMENTS);
    }
    times.sort_by(f64::total_cmp);
    table.cost(
        "positions of 1,000 instruments as of any moment, p50",
        "ms",
        percentile(&times, 50),
        None,
        "10",
    );
    table.cost("the same, p99", "ms", percentile(&times, 99), None, "");
    let begin = Instant::now();
    let late = NewFill { client_id: "late".into(), time: BEGIN_NS, ..fill(&mut random, 0) };
    let batch = Batch { account: "main".into(), fills: vec![late], ..Batch::default() };
    layer.trades().record(&OP, &batch).unwrap();
    table.cost(
        "a fill before all others of its instrument",
        "ms",
        begin.elapsed().as_secs_f64() * 1e3,
        None,
        "",
    );
    assert!(layer.audit().verify(&OP).unwrap().broken.is_none());
}

fn name(i: usize) -> String {
    format!("SYM{i:04}")
}

fn fill(random: &mut Random, i: usize) -> NewFill {
    let cents = |n: i64| -> Number { format!("{}.{:02}", n / 100, n % 100).parse().unwrap() };
    NewFill {
        client_id: format!("f{i}"),
        instrument: name(random.below(INSTRUMENTS)),
        side: if random.coin() { Side::Buy } else { Side::Sell },
        quantity: Number::whole(random.between(1, 500)),
        price: cents(random.between(1_000, 50_000)),
        fee: cents(random.between(0, 200)),
        time: BEGIN_NS + i as i64 * STEP_NS,
        order: None,
        broker_id: Some(format!("x{i}")),
        corrects: None,
        void: false,
        reason: None,
    }
}
