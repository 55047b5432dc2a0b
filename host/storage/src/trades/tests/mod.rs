//! The record: what is taken and refused, what it adds up to, and as of when.

mod bounds;
mod crash;
mod derived;
mod model;
mod orders;
mod past;
mod plugins;

use super::*;
use crate::audit::{Audit, AuditFilter};
use crate::caller::{Caller, Scope};
use crate::error::{Kind, Result};
use crate::schema::MIGRATIONS;
use crate::sqlite::{Database, Options};
use std::sync::Arc;

pub(super) const OP: Caller = Caller::Operator;
pub(super) const SECOND: i64 = 1_000_000_000;
/// When most of it happens.
pub(super) const T: i64 = 1_700_000_000 * SECOND;

pub(super) fn n(text: &str) -> Number {
    text.parse().unwrap()
}

pub(super) struct Desk {
    pub trades: Trades,
    pub audit: Audit,
    pub db: Arc<Database>,
    _dir: tempfile::TempDir,
}

pub(super) fn share(name: &str) -> NewInstrument {
    NewInstrument {
        name: name.into(),
        kind: InstrumentKind::Equity,
        currency: "USD".into(),
        multiplier: Number::ONE,
        tick: Number::ZERO,
        lot: Number::ZERO,
        bucket: None,
        measurement: None,
    }
}

/// An account `main` in dollars, shares `A` and `B`, and a future `F` with a multiplier of 50.
pub(super) fn set_up(trades: &Trades) -> Result<()> {
    trades.open_account(&OP, &Account { name: "main".into(), currency: "USD".into(), broker: None })?;
    trades.add_instrument(&OP, &share("A"))?;
    trades.add_instrument(&OP, &share("B"))?;
    let future = NewInstrument { kind: InstrumentKind::Future, multiplier: Number::whole(50), ..share("F") };
    trades.add_instrument(&OP, &future)?;
    Ok(())
}

impl Desk {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(&dir.path().join("a.db"), Options::default(), MIGRATIONS).unwrap();
        let db = Arc::new(db);
        let trades = Trades::new(db.clone());
        set_up(&trades).unwrap();
        Self { trades, audit: Audit::new(db.clone()), db, _dir: dir }
    }

    pub fn fill(&self, new: NewFill) -> Result<Recorded> {
        self.record(Batch { fills: vec![new], ..Batch::default() }).map(|mut a| a.fills.remove(0))
    }

    pub fn record(&self, batch: Batch) -> Result<BatchAnswer> {
        self.trades.record(&OP, &Batch { account: "main".into(), ..batch })
    }

    pub fn positions(&self, at: Option<i64>, known_at: Option<i64>) -> Positions {
        let query =
            PositionsQuery { account: "main".into(), at, known_at, flat: true, ..PositionsQuery::default() };
        self.trades.positions(&OP, &query).unwrap()
    }

    pub fn quantity(&self, instrument: &str) -> Number {
        let all = self.positions(None, None).positions;
        all.into_iter().find(|p| p.instrument == instrument).map_or(Number::ZERO, |p| p.quantity)
    }

    pub fn order(&self, id: &str) -> Order {
        self.trades.order(&OP, "main", id, AsOf::default()).unwrap()
    }

    /// The time of the newest batch.
    pub fn last_recorded(&self) -> i64 {
        self.db
            .read(|c| Ok(c.query_row("SELECT max(recorded_at) FROM trade_batches", [], |r| r.get(0))?))
            .unwrap()
    }
}

pub(super) fn filter() -> ListFilter {
    ListFilter { account: "main".into(), ..ListFilter::default() }
}

pub(super) fn buy(id: &str, instrument: &str, quantity: &str, price: &str, seconds: i64) -> NewFill {
    NewFill {
        client_id: id.into(),
        instrument: instrument.into(),
        side: Side::Buy,
        quantity: n(quantity),
        price: n(price),
        fee: n("0.5"),
        time: T + seconds * SECOND,
        order: None,
        broker_id: None,
        corrects: None,
        void: false,
        reason: None,
    }
}

pub(super) fn sell(id: &str, instrument: &str, quantity: &str, price: &str, seconds: i64) -> NewFill {
    NewFill { side: Side::Sell, ..buy(id, instrument, quantity, price, seconds) }
}

pub(super) fn corrects(of: &str, new: NewFill) -> NewFill {
    NewFill { corrects: Some(of.into()), reason: Some("the broker said so".into()), ..new }
}

pub(super) fn deposit(id: &str, amount: &str, seconds: i64) -> NewCash {
    NewCash {
        client_id: id.into(),
        currency: "USD".into(),
        kind: CashKind::Deposit,
        amount: n(amount),
        time: T + seconds * SECOND,
        instrument: None,
        corrects: None,
        void: false,
        reason: None,
    }
}

pub(super) fn limit(id: &str, side: Side, quantity: &str, seconds: i64) -> NewOrder {
    NewOrder {
        client_id: id.into(),
        instrument: "A".into(),
        side,
        kind: OrderType::Limit,
        quantity: n(quantity),
        limit_price: Some(n("10")),
        stop_price: None,
        time_in_force: TimeInForce::Day,
        skill: Some("pullback".into()),
        version: Some("1.0.0".into()),
        signal: serde_json::json!({ "rsi": 28.5 }),
        time: T + seconds * SECOND,
    }
}

pub(super) fn of(order: &str, fill: NewFill) -> NewFill {
    NewFill { order: Some(order.into()), ..fill }
}

#[test]
fn a_fill_twice_is_one_fill_and_another_one_under_its_id_is_refused() {
    let desk = Desk::new();
    let first = desk.fill(buy("f1", "A", "10", "100", 0)).unwrap();
    assert!(!first.replayed && !first.late);
    let again = desk.fill(buy("f1", "A", "10.0", "100.00", 0)).unwrap();
    assert_eq!(again, Recorded { replayed: true, ..first.clone() });
    for other in [
        buy("f1", "B", "10", "100", 0),
        buy("f1", "A", "11", "100", 0),
        buy("f1", "A", "10", "101", 0),
        buy("f1", "A", "10", "100", 1),
        sell("f1", "A", "10", "100", 0),
        of("o", buy("f1", "A", "10", "100", 0)),
        NewFill { fee: n("0.6"), ..buy("f1", "A", "10", "100", 0) },
        NewFill { broker_id: Some("x".into()), ..buy("f1", "A", "10", "100", 0) },
        NewFill { reason: Some("x".into()), ..buy("f1", "A", "10", "100", 0) },
        corrects("f1", buy("f1", "A", "10", "100", 0)),
    ] {
        assert_eq!(desk.fill(other.clone()).unwrap_err().kind(), Kind::Conflict, "{other:?}");
    }
    assert_eq!(desk.quantity("A"), n("10"));
    // The same id in another account is another fill.
    desk.trades
        .open_account(&OP, &Account { name: "b".into(), currency: "EUR".into(), broker: None })
        .unwrap();
    let batch = Batch { account: "b".into(), fills: vec![buy("f1", "B", "1", "1", 0)], ..Batch::default() };
    assert_eq!(desk.trades.record(&OP, &batch).unwrap().recorded, 1);
}

#[test]
fn a_batch_is_whole_or_absent_and_names_what_is_wrong() {
    let desk = Desk::new();
    let before = desk.audit.len().unwrap();
    let fills = vec![buy("f1", "A", "1", "1", 0), buy("f2", "A", "-1", "1", 0)];
    let e = desk.record(Batch { fills, ..Batch::default() }).unwrap_err();
    assert!(e.kind() == Kind::Invalid && e.message().starts_with("fills[1]: "), "{e:?}");
    assert_eq!((desk.quantity("A"), desk.audit.len().unwrap()), (n("0"), before));
    // Twice the same within one batch is one fill, too.
    let fills = vec![buy("f1", "A", "1", "1", 0), buy("f1", "A", "1", "1", 0)];
    let answer = desk.record(Batch { fills, ..Batch::default() }).unwrap();
    assert_eq!((answer.recorded, answer.fills[1].replayed), (1, true));
}

#[test]
fn a_batch_has_one_entry_with_the_digest_of_its_rows() {
    let desk = Desk::new();
    let fills: Vec<_> = (0..20).map(|i| buy(&format!("f{i}"), "A", "1", "1", i)).collect();
    let batch = Batch { fills, cash: vec![deposit("d", "100", 0)], ..Batch::default() };
    let before = desk.audit.len().unwrap();
    desk.record(batch.clone()).unwrap();
    assert_eq!(desk.audit.len().unwrap(), before + 1);
    let entry =
        desk.audit.list(&OP, &AuditFilter { limit: Some(1), ..AuditFilter::default() }).unwrap().remove(0);
    assert_eq!((entry.action.as_str(), entry.object.as_str()), ("trades.record", "account:main"));
    assert_eq!(
        (&entry.detail["fills"], &entry.detail["cash"], &entry.detail["rows"]),
        (&20.into(), &1.into(), &21.into())
    );
    let digest: String = desk
        .db
        .read(|c| {
            Ok(c.query_row("SELECT digest FROM trade_batches ORDER BY id DESC LIMIT 1", [], |r| r.get(0))?)
        })
        .unwrap();
    assert_eq!(entry.after, Some(digest));
    // All of it again changes nothing.
    assert_eq!(desk.record(batch).unwrap().recorded, 0);
    assert_eq!(desk.audit.len().unwrap(), before + 1);
}

#[test]
fn profit_and_cash_are_what_the_fills_say() {
    let desk = Desk::new();
    desk.record(Batch {
        fills: vec![
            buy("1", "A", "10", "100", 0),
            buy("2", "A", "10", "110", 1),
            sell("3", "A", "5", "120", 2),
            buy("4", "F", "2", "5000", 3),
            sell("5", "F", "1", "5010", 4),
        ],
        cash: vec![
            deposit("d", "10000", 0),
            NewCash { kind: CashKind::Fee, ..deposit("m", "12.5", 1) },
            NewCash { kind: CashKind::Dividend, instrument: Some("A".into()), ..deposit("v", "-3", 1) },
            NewCash { currency: "EUR".into(), ..deposit("e", "7", 1) },
        ],
        ..Batch::default()
    })
    .unwrap();
    let all = desk.positions(None, None);
    let a = &all.positions[0];
    assert_eq!((a.quantity, a.average, a.cost, a.realised), (n("15"), Some(n("105")), n("1575"), n("75")));
    assert_eq!((a.price, a.value, a.unrealised, a.fills), (n("120"), n("1800"), n("225"), 3));
    let f = &all.positions[1];
    assert_eq!((f.quantity, f.cost, f.realised, f.unrealised), (n("1"), n("250000"), n("500"), n("500")));
    let [eur, usd] = all.balances.as_slice() else { panic!("{all:?}") };
    assert_eq!((eur.currency.as_str(), eur.cash, eur.equity), ("EUR", n("7"), n("7")));
    // 10,000 − 12.5 − 3, what was paid for A, the profit of F, and five fees.
    assert_eq!(
        (usd.moved, usd.cash),
        (n("9984.5"), n("9984.5").minus(n("1500")).unwrap().plus(n("497.5")).unwrap())
    );
    assert_eq!(
        usd.equity,
        n("9984.5").plus(n("575")).unwrap().plus(n("725")).unwrap().minus(n("2.5")).unwrap()
    );
    // At other prices.
    let query = PositionsQuery {
        account: "main".into(),
        prices: [("A".to_string(), n("100"))].into(),
        ..PositionsQuery::default()
    };
    assert_eq!(desk.trades.positions(&OP, &query).unwrap().positions[0].unrealised, n("-75"));
}

#[test]
fn corrections_take_the_place_of_what_was_wrong() {
    let desk = Desk::new();
    desk.fill(buy("f", "A", "10", "100", 0)).unwrap();
    desk.fill(corrects("f", buy("f-2", "A", "12", "99", 5))).unwrap();
    assert_eq!(desk.quantity("A"), n("12"));
    // The first id goes on naming the fill; so does that of a correction.
    desk.fill(corrects("f", buy("f-3", "B", "12", "99", 5))).unwrap();
    assert_eq!((desk.quantity("A"), desk.quantity("B")), (n("0"), n("12")));
    assert!(desk.fill(corrects("f-2", buy("f-3", "B", "12", "99", 5))).unwrap().replayed);
    let void = NewFill { void: true, ..corrects("f-2", buy("f-4", "B", "12", "99", 5)) };
    desk.fill(void.clone()).unwrap();
    assert_eq!(desk.quantity("B"), n("0"));
    assert_eq!(desk.trades.fills(&OP, &filter()).unwrap(), []);
    let all = desk.trades.fills(&OP, &ListFilter { all: true, ..filter() }).unwrap();
    let ids: Vec<_> = all.iter().map(|f| (f.fill.client_id.as_str(), f.fill.corrects.as_deref())).collect();
    assert_eq!(ids, [("f", None), ("f-2", Some("f")), ("f-3", Some("f")), ("f-4", Some("f"))]);
    // It did happen after all.
    desk.fill(corrects("f", buy("f-5", "A", "10", "100", 0))).unwrap();
    assert_eq!(desk.quantity("A"), n("10"));
    assert_eq!(
        desk.fill(corrects("nothing", buy("g", "A", "1", "1", 0))).unwrap_err().kind(),
        Kind::NotFound
    );
    for wrong in
        [NewFill { reason: None, ..void.clone() }, NewFill { corrects: None, client_id: "v".into(), ..void }]
    {
        assert_eq!(desk.fill(wrong).unwrap_err().kind(), Kind::Invalid);
    }
    // Movements of cash in the same way.
    desk.record(Batch { cash: vec![deposit("d", "100", 0)], ..Batch::default() }).unwrap();
    let fix = NewCash { corrects: Some("d".into()), reason: Some("less".into()), ..deposit("d-2", "90", 0) };
    desk.record(Batch { cash: vec![fix.clone()], ..Batch::default() }).unwrap();
    assert!(desk.record(Batch { cash: vec![fix], ..Batch::default() }).unwrap().cash[0].replayed);
    assert_eq!(desk.positions(None, None).balances[0].moved, n("90"));
    assert_eq!(desk.trades.cash_movements(&OP, &filter()).unwrap().len(), 1);
}

#[test]
fn that_a_fill_did_not_happen_can_be_said_whatever_the_lot_is_by_now() {
    let desk = Desk::new();
    desk.fill(buy("f", "A", "3", "100", 0)).unwrap();
    desk.trades.set_terms(&OP, "A", &NewTerms { since: 0, lot: n("10"), ..NewTerms::default() }).unwrap();
    let other = corrects("f", buy("f-2", "A", "4", "100", 0));
    assert_eq!(desk.fill(other).unwrap_err().kind(), Kind::Invalid, "no whole lots");
    desk.fill(NewFill { void: true, ..corrects("f", buy("f-2", "A", "3", "100", 0)) }).unwrap();
    assert_eq!(desk.quantity("A"), n("0"));
    let nothing = NewFill { void: true, ..corrects("f", buy("f-3", "A", "0", "100", 0)) };
    assert_eq!(desk.fill(nothing).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn nothing_is_changed_or_deleted_in_place() {
    let desk = Desk::new();
    desk.record(Batch {
        fills: vec![buy("f", "A", "10", "100", 0)],
        cash: vec![deposit("d", "100", 0)],
        orders: vec![limit("o", Side::Buy, "10", 0)],
        events: vec![NewEvent { order: "o".into(), state: EventState::Accepted, time: T, reason: None }],
        ..Batch::default()
    })
    .unwrap();
    for table in ["batches", "accounts", "instruments", "terms", "fills", "cash", "orders", "order_events"] {
        for sql in [format!("UPDATE trade_{table} SET rowid = rowid"), format!("DELETE FROM trade_{table}")] {
            let sql = sql.replace("trade_fills SET rowid = rowid", "trade_fills SET price = '1'");
            let sql = sql.replace("trade_cash SET rowid = rowid", "trade_cash SET amount = '1'");
            let refused = desk.db.write(|tx| Ok(tx.execute(&sql, [])?)).unwrap_err();
            assert!(refused.message().contains("only added to"), "{sql}: {refused:?}");
        }
    }
}

#[test]
fn who_may_do_what() {
    let desk = Desk::new();
    let token = |scope| Caller::Token { id: 1, name: "t".into(), scope };
    let batch = Batch { account: "main".into(), fills: vec![buy("f", "A", "1", "1", 0)], ..Batch::default() };
    assert_eq!(desk.trades.record(&token(Scope::Read), &batch).unwrap_err().kind(), Kind::Denied);
    desk.trades.record(&token(Scope::Write), &batch).unwrap();
    desk.trades.fills(&token(Scope::Read), &filter()).unwrap();
    assert_eq!(desk.trades.rebuild(&token(Scope::Write), "main").unwrap_err().kind(), Kind::Denied);
    let plugin = Caller::Plugin { name: "p".into(), grants: Arc::default() };
    assert_eq!(desk.trades.fills(&plugin, &filter()).unwrap_err().kind(), Kind::Denied);
    assert_eq!(desk.trades.record(&plugin, &batch).unwrap_err().kind(), Kind::Denied);
}
