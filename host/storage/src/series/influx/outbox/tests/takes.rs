//! What the outbox says of a batch beforehand, by which a commit over several stores is made or refused.

use super::*;
use crate::caller::Caller;
use crate::commits::{Commit, CommitRows};
use crate::layer::tests::{layer_over, manifest};
use crate::series::line_protocol::Precision;

fn small(server: &Arc<Server>, folder: &Path) -> Arc<Outbox> {
    Arc::new(open(server, folder, OutboxOptions { bytes_max: 4_000, ..options() }))
}

fn refused(outbox: &Outbox, batch: &WriteBatch) -> Kind {
    let e = outbox.takes(batch).unwrap_err();
    assert!(e.hint_text().is_some(), "{e:?}");
    e.kind()
}

#[test]
fn it_is_what_a_write_would_say_and_changes_nothing() {
    let (server, dir) = (Arc::<Server>::default(), tempfile::tempdir().unwrap());
    let outbox = small(&server, dir.path());
    let first = batch(&key("m"), &[1], 1.0);
    outbox.takes(&first).unwrap();
    assert_eq!((outbox.stats().unwrap().outbox_records, server.rows(&key("m"))), (0, 0));
    // A look teaches no type.
    let whole = |measurement: &str| {
        let columns = vec![Column::new("v", crate::series::Values::Integer(vec![1]))];
        WriteBatch { series: vec![(key(measurement), Frame { times: vec![2], columns })] }
    };
    outbox.takes(&whole("m")).unwrap();
    outbox.write(first).unwrap();
    assert_eq!(refused(&outbox, &whole("m")), Kind::Conflict);
    let odd = SeriesKey::new("market", "m", vec![("_t".into(), "A".into())]).unwrap();
    assert_eq!(refused(&outbox, &batch(&odd, &[1], 1.0)), Kind::Invalid);
    let long: Vec<i64> = (0..1_000).collect();
    assert_eq!(refused(&outbox, &batch(&key("m"), &long, 1.0)), Kind::Limit);
    // In an outage: by what the server said before, and not where it was never asked.
    server.set_down(true);
    outbox.takes(&batch(&key("m"), &[2], 2.0)).unwrap();
    assert_eq!(refused(&outbox, &whole("m")), Kind::Conflict);
    assert_eq!(refused(&outbox, &whole("n")), Kind::Unavailable);
    let fifty: Vec<i64> = (0..50).collect();
    let more = batch(&key("m"), &fifty, 3.0);
    let mut taken = 0;
    while outbox.takes(&more).is_ok() {
        outbox.write(more.clone()).unwrap();
        taken += 1;
    }
    assert!((1..10).contains(&taken), "{taken}");
    assert_eq!((refused(&outbox, &more), outbox.write(more).unwrap_err().kind()), (Kind::Busy, Kind::Busy));
}

/// Such rows would be durable, and keep everybody waiting for them for ever.
#[test]
fn a_commit_whose_rows_cannot_be_taken_is_refused_before_it_is_made() {
    let (server, dir) = (Arc::<Server>::default(), tempfile::tempdir().unwrap());
    let outbox = small(&server, dir.path());
    let layer = layer_over(&manifest(dir.path(), ""), Some(outbox)).0;
    let make = |lines: String| {
        let rows = CommitRows { bucket: None, lines, precision: Precision::Ns };
        layer.commit(&Caller::Operator, &Commit { series: vec![rows], ..Commit::default() })
    };
    let long: String = (0..1_000).map(|t| format!("m v=1 {t}\n")).collect();
    for (lines, kind) in [("m,_t=A v=1 1".to_string(), Kind::Invalid), (long, Kind::Limit)] {
        let e = make(lines).unwrap_err();
        assert!(e.kind() == kind && e.hint_text().is_some(), "{e:?}");
        let latest = layer.series().latest(&Caller::Operator, &Selector::default(), None, &Budget::default());
        assert!(latest.unwrap().is_empty(), "nobody waits, and nothing is there");
    }
    assert_eq!(make("m v=1 1".into()).unwrap().id, 1, "nothing was made before");
    assert_eq!(layer.series().list(&Caller::Operator, &Selector::default()).unwrap().len(), 1);
}
