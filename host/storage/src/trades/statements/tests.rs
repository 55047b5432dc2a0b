//! A statement against the record, and what is done about what differs.

use super::*;
use crate::audit::AuditFilter;
use crate::error::Kind;
use crate::trades::tests::{Desk, OP, SECOND, T, buy, corrects, filter, n, sell};

fn mapping() -> Mapping {
    Mapping {
        id: Some("id".into()),
        time: "time".into(),
        instrument: "symbol".into(),
        side: Some("side".into()),
        quantity: "quantity".into(),
        price: "price".into(),
        fee: Some("fee".into()),
        ..Mapping::default()
    }
}

/// Lines of id, second, symbol, side, quantity, price, fee.
fn csv(lines: &[(&str, i64, &str, &str, &str, &str, &str)]) -> String {
    let mut out = "id,time,symbol,side,quantity,price,fee\n".to_string();
    for (id, seconds, symbol, side, quantity, price, fee) in lines {
        out.push_str(&format!("{id},{},{symbol},{side},{quantity},{price},{fee}\n", T + seconds * SECOND));
    }
    out
}

fn compare(desk: &Desk, csv: String) -> (Statement, Vec<Difference>) {
    let new = NewStatement { account: "main".into(), csv, mapping: mapping(), since: None, until: None };
    let made = desk.trades.compare_statement(&OP, &new).unwrap();
    let open = desk.trades.differences(&OP, "main", made.seq, true).unwrap();
    (made, open)
}

fn desk() -> Desk {
    let desk = Desk::new();
    let broker = |id: &str, fill: NewFill| NewFill { broker_id: Some(id.into()), ..fill };
    let fills = vec![
        broker("x1", buy("1", "A", "10", "100", 0)),
        broker("x2", buy("2", "A", "5", "101", 10)),
        sell("3", "A", "4", "102", 20),
        buy("4", "B", "7", "50", 30),
        buy("5", "B", "1", "50", 40),
    ];
    desk.record(Batch { fills, ..Batch::default() }).unwrap();
    desk
}

#[test]
fn differences_are_found_kept_and_resolved() {
    let desk = desk();
    let text = csv(&[
        ("x1", 0, "A", "buy", "10", "100.00", "0.5"),
        ("x2", 11, "A", "buy", "6", "101", "0.75"),
        ("", 20, "A", "sold", "4", "102", ""),
        ("", 30, "B", "buy", "7", "50.5", "0.5"),
        ("x9", 35, "B", "sell", "2", "51", "0.5"),
        ("", 41, "B", "buy", "3", "49", "0.5"),
    ]);
    let (statement, open) = compare(&desk, text.clone());
    assert_eq!((statement.lines, statement.matched, statement.differences), (6, 2, 4));
    let kinds: Vec<_> = open.iter().map(|d| d.kind).collect();
    use DifferenceKind::{Differs, MissingHere};
    // The last one goes the same way at nearly the same time: it is ours with other figures.
    assert_eq!(kinds, [Differs, Differs, MissingHere, Differs]);
    assert_eq!(open[0].theirs.as_ref().unwrap().line, 3);
    let resolve = |number, action| {
        desk.trades.resolve_difference(&OP, "main", (statement.seq, number), action, "as the broker has it")
    };
    for number in 1..=3 {
        resolve(number, Resolve::Theirs).unwrap();
    }
    assert_eq!(resolve(1, Resolve::Ours).unwrap_err().kind(), Kind::Conflict, "once");
    let kept = resolve(4, Resolve::Ours).unwrap();
    assert_eq!(kept.resolved.unwrap().action, Resolve::Ours);
    assert_eq!(resolve(5, Resolve::Ours).unwrap_err().kind(), Kind::NotFound);
    assert!(desk.trades.differences(&OP, "main", statement.seq, true).unwrap().is_empty());
    assert_eq!((desk.quantity("A"), desk.quantity("B")), (n("12"), n("6")));
    let fills = desk.trades.fills(&OP, &filter()).unwrap();
    let second = fills.iter().find(|f| f.fill.broker_id.as_deref() == Some("x2")).unwrap();
    assert_eq!(
        (second.fill.quantity, second.fill.fee, second.fill.corrects.as_deref()),
        (n("6"), n("0.75"), Some("2"))
    );
    // Each with its entry, and the correction in the same one.
    let entries = desk
        .audit
        .list(&OP, &AuditFilter { action: Some("trades.resolve".into()), ..AuditFilter::default() });
    let entries = entries.unwrap();
    assert_eq!((entries.len(), &entries[1].detail["fills"]), (4, &1.into()));
    assert_eq!(entries[0].detail["resolution"]["action"], "ours");
    // Compared again, only what was left as it is differs.
    let (again, open) = compare(&desk, text);
    assert_eq!((again.matched, open.len(), open[0].kind), (5, 1, Differs));
    let listed = desk.trades.statements(&OP, "main", None, 10).unwrap();
    assert_eq!((listed.len(), listed[0].seq, listed[1].resolved), (2, again.seq, 4));
    assert!(desk.audit.verify(&OP).unwrap().broken.is_none());
}

#[test]
fn what_the_broker_never_had_is_void() {
    let desk = desk();
    let text = csv(&[("x1", 0, "A", "buy", "10", "100", "0.5"), ("", 40, "B", "buy", "1", "50", "0.5")]);
    let (statement, open) = compare(&desk, text);
    assert_eq!((statement.matched, open.len()), (2, 3));
    assert!(open.iter().all(|d| d.kind == DifferenceKind::MissingThere));
    let of = |number| (statement.seq, number);
    desk.trades.resolve_difference(&OP, "main", of(1), Resolve::Theirs, "never happened").unwrap();
    assert_eq!(desk.quantity("A"), n("6"));
    // Corrected meanwhile by somebody else.
    desk.fill(corrects("3", sell("3-2", "A", "5", "102", 20))).unwrap();
    let e =
        desk.trades.resolve_difference(&OP, "main", of(2), Resolve::Theirs, "never happened").unwrap_err();
    assert!(e.kind() == Kind::Conflict && e.hint_text().unwrap().contains("again"), "{e:?}");
    assert_eq!(desk.quantity("A"), n("5"), "nothing of it was recorded");
    desk.trades.resolve_difference(&OP, "main", of(2), Resolve::Ours, "they are late").unwrap();
}

#[test]
fn a_statement_that_cannot_be_compared_changes_nothing() {
    let desk = desk();
    let before = desk.audit.len().unwrap();
    let new = |csv: &str| NewStatement {
        account: "main".into(),
        csv: csv.into(),
        mapping: mapping(),
        since: None,
        until: None,
    };
    let unknown =
        desk.trades.compare_statement(&OP, &new(&csv(&[("", 0, "ZZZ", "buy", "1", "1", "")]))).unwrap_err();
    assert!(unknown.kind() == Kind::NotFound && unknown.message().starts_with("line 2: "), "{unknown:?}");
    assert_eq!(desk.trades.compare_statement(&OP, &new(&csv(&[]))).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(desk.audit.len().unwrap(), before);
    // With its time given an empty one says that nothing happened.
    let empty = NewStatement { since: Some(T), until: Some(T + 100 * SECOND), ..new(&csv(&[])) };
    assert_eq!(desk.trades.compare_statement(&OP, &empty).unwrap().differences, 5);
}

#[test]
fn a_trade_that_was_missing_is_recorded_once() {
    let desk = desk();
    let lines = [("x9", 60, "B", "buy", "3", "49", "0.5"), ("", 70, "B", "buy", "2", "48", "0.5")];
    let ((first, open), (second, _)) = (compare(&desk, csv(&lines)), compare(&desk, csv(&lines)));
    assert_eq!((open.len(), second.differences), (2, 2));
    let resolve = |statement: &Statement, number| {
        let of = (statement.seq, number);
        desk.trades.resolve_difference(&OP, "main", of, Resolve::Theirs, "as the broker has it")
    };
    let again = |e: crate::Error| {
        assert!(e.kind() == Kind::Conflict && e.hint_text().unwrap().contains("compare"), "{e:?}");
    };
    // Both comparisons found it; by its id, and where it has none by its figures.
    for number in 1..=2 {
        resolve(&first, number).unwrap();
        again(resolve(&second, number).unwrap_err());
    }
    assert_eq!(desk.quantity("B"), n("13"));
    // The trader's own message came in between.
    let late = [("x10", 80, "B", "sell", "1", "51", "")];
    let (third, _) = compare(&desk, csv(&late));
    let own = NewFill { broker_id: Some("x10".into()), ..sell("9", "B", "1", "51", 85) };
    desk.record(Batch { fills: vec![own], ..Batch::default() }).unwrap();
    again(resolve(&third, 1).unwrap_err());
    assert_eq!(desk.quantity("B"), n("12"));
}

/// What the statement has from outside of its time is not missing because nobody looked there.
#[test]
fn a_trade_beyond_the_time_of_the_statement_is_found() {
    let desk = desk();
    let lines = [
        ("", 0, "A", "buy", "10", "100", ""),
        ("", 10, "A", "buy", "5", "101", ""),
        ("", 40, "B", "buy", "1", "50", ""),
    ];
    let new = NewStatement {
        account: "main".into(),
        csv: csv(&lines),
        mapping: mapping(),
        since: Some(T + 10 * SECOND),
        until: Some(T + 30 * SECOND),
    };
    let made = desk.trades.compare_statement(&OP, &new).unwrap();
    let open = desk.trades.differences(&OP, "main", made.seq, true).unwrap();
    // Of ours between them one is not there; the one that ends the time is not in it.
    assert_eq!((made.lines, made.matched, open.len()), (3, 3, 1), "{open:?}");
    assert_eq!(
        (open[0].kind, &open[0].ours.as_ref().unwrap()["client_id"]),
        (DifferenceKind::MissingThere, &"3".into())
    );
    let wrong = NewStatement { since: Some(T + 1), until: Some(T), ..new };
    assert_eq!(desk.trades.compare_statement(&OP, &wrong).unwrap_err().kind(), Kind::Invalid);
}
