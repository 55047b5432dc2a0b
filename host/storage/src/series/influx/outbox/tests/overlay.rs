//! What is acknowledged is seen at once, whether it is delivered or not.

use super::*;
use crate::series::{Value, Values, conformance};
use proptest::prelude::*;
use std::sync::atomic::AtomicU64;

/// Delivers now and then, so that what a check looks at is partly here and partly there.
#[derive(Debug)]
struct Restless {
    outbox: Outbox,
    /// Every how many writes something is delivered; 0: only when a delete needs it.
    every: u64,
    writes: AtomicU64,
}

impl SeriesEngine for Restless {
    fn write(&self, batch: WriteBatch) -> Result<WriteReport> {
        let report = self.outbox.write(batch)?;
        let n = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        if n.is_multiple_of(self.every) {
            self.outbox.core.deliver_next();
        }
        Ok(report)
    }
    fn scan(&self, k: &SeriesKey, r: TimeRange, f: Option<&[String]>, b: &Budget) -> Result<FrameStream> {
        self.outbox.scan(k, r, f, b)
    }
    fn delete_within(&self, selector: &Selector, range: TimeRange, budget: &Budget) -> Result<DeleteReport> {
        self.outbox.delete_within(selector, range, budget)
    }
    fn latest_within(&self, selector: &Selector, budget: &Budget) -> Result<Vec<Latest>> {
        self.outbox.latest_within(selector, budget)
    }
    fn list(&self, selector: &Selector) -> Result<Vec<SeriesInfo>> {
        self.outbox.list(selector)
    }
    fn capabilities(&self) -> Capabilities {
        self.outbox.capabilities()
    }
    fn stats(&self) -> Result<EngineStats> {
        self.outbox.stats()
    }
    fn seal(&self) -> Result<()> {
        Ok(())
    }
    fn compact(&self) -> Result<CompactReport> {
        self.outbox.compact()
    }
    fn verify(&self, budget: &Budget) -> Result<Vec<Fault>> {
        self.outbox.verify(budget)
    }
}

#[test]
fn the_outbox_conforms_whatever_is_delivered() {
    for every in [0, 1, 2, 3] {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(&Arc::default(), dir.path(), options());
        conformance::run(&Restless { outbox, every, writes: AtomicU64::new(0) });
    }
}

#[test]
fn the_outbox_conforms_with_its_thread() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(&Arc::default(), dir.path(), OutboxOptions { manual: false, ..options() });
    conformance::run(&outbox);
    outbox.seal().unwrap();
    assert_eq!(outbox.stats().unwrap().outbox_records, 0);
}

#[derive(Debug, Clone)]
enum Step {
    /// Series, time, field, value; `None`: no value.
    Write(Vec<(u8, i64, u8, Option<i8>)>),
    Delete(u8, i64, i64),
    Deliver,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let cell = (0..2_u8, 0..12_i64, 0..3_u8, proptest::option::weighted(0.9, any::<i8>()));
    prop_oneof![
        6 => proptest::collection::vec(cell, 1..6).prop_map(Step::Write),
        1 => (0..2_u8, 0..12_i64, 0..6_i64).prop_map(|(s, from, n)| Step::Delete(s, from, from + n)),
        3 => Just(Step::Deliver),
        1 => Just(Step::Restart),
    ]
}

fn batch_of(cells: &[(u8, i64, u8, Option<i8>)]) -> WriteBatch {
    let series = cells.iter().map(|(series, time, field, value)| {
        let column = Column {
            name: format!("f{field}"),
            values: Values::Integer(vec![i64::from(value.unwrap_or_default())]),
            valid: Some(vec![value.is_some()]),
        };
        (key(&format!("m{series}")), Frame { times: vec![*time], columns: vec![column] })
    });
    WriteBatch { series: series.collect() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    /// Rows, newest values and spans are those of the reference engine after every step.
    #[test]
    fn any_mix_of_writes_deletes_deliveries_and_starts(steps in proptest::collection::vec(step(), 1..25)) {
        let dir = tempfile::tempdir().unwrap();
        let (server, want) = (Arc::<Server>::default(), ModelEngine::with_frame_rows(3));
        let mut outbox = open(&server, dir.path(), options());
        for step in steps {
            match step {
                Step::Write(cells) => {
                    let said = outbox.write(batch_of(&cells)).unwrap();
                    prop_assert_eq!(said.written, want.write(batch_of(&cells)).unwrap().written);
                }
                Step::Delete(series, start, end) => {
                    let chosen = Selector::of(&key(&format!("m{series}")));
                    let range = TimeRange::new(start, end).unwrap();
                    let said = outbox.delete(&chosen, range).unwrap();
                    prop_assert_eq!(said, want.delete(&chosen, range).unwrap());
                }
                Step::Deliver => {
                    outbox.core.deliver_next();
                }
                Step::Restart => {
                    drop(outbox);
                    outbox = open(&server, dir.path(), options());
                }
            }
            for series in ["m0", "m1"] {
                let key = key(series);
                prop_assert_eq!(rows(&outbox, &key).unwrap(), rows(&want, &key).unwrap());
                for (range, fields) in [(TimeRange::new(3, 8).unwrap(), None), (TimeRange::ALL, Some(["f1".to_string()]))] {
                    let of = |engine: &dyn SeriesEngine| {
                        rows_of(engine.scan(&key, range, fields.as_ref().map(|f| &f[..]), &Budget::default()).unwrap())
                    };
                    prop_assert_eq!(of(&outbox).unwrap(), of(&want).unwrap());
                }
            }
            prop_assert_eq!(outbox.latest(&Selector::default()).unwrap(), want.latest(&Selector::default()).unwrap());
            let spans = |engine: &dyn SeriesEngine| -> Vec<_> {
                let all = engine.list(&Selector::default()).unwrap();
                all.into_iter().map(|i| (i.key, i.fields, i.min_time, i.max_time)).collect()
            };
            prop_assert_eq!(spans(&outbox), spans(&want));
        }
    }
}

#[test]
fn what_memory_has_no_room_for_is_read_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let server = Arc::<Server>::default();
    let outbox = open(&server, dir.path(), OutboxOptions { bytes_max: 1 << 30, ..options() });
    let text = "x".repeat(1 << 20);
    // More than the head keeps, then newer values for the first rows.
    let n = (super::super::head::KEPT_BYTES_MAX >> 20) as i64 + 3;
    let write = |time: i64, text: &str| {
        let columns = vec![Column::new("t", Values::String(vec![text.to_string()]))];
        let frame = Frame { times: vec![time], columns };
        outbox.write(WriteBatch { series: vec![(key("m"), frame)] }).unwrap();
    };
    (0..n).for_each(|t| write(t, &text));
    write(0, "newer");
    write(n - 1, "newest");
    assert!(outbox.stats().unwrap().head_bytes <= super::super::head::KEPT_BYTES_MAX);
    let found = rows(&outbox, &key("m")).unwrap();
    assert_eq!(found.len() as i64, n);
    assert_eq!(found[0].1["t"], Value::String("newer".into()));
    assert_eq!(found[n as usize - 1].1["t"], Value::String("newest".into()));
    // Looked up before, delivered since: what is gone from the file is the server's, and nothing older hides it.
    let before = super::super::read(&outbox.core.head).of_series(&key("m"), TimeRange::ALL);
    assert!(before.iter().any(|w| w.frame.is_none()));
    outbox.seal().unwrap();
    let fetched = outbox.fetch(before).unwrap();
    assert!(fetched.iter().all(|(w, _)| w.seq > n), "{}", fetched.len());
    assert_eq!(rows(&outbox, &key("m")).unwrap(), found);
}
