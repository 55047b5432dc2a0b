//! Plugins: what they see of accounts and add to them, and that every other one is out of their reach.

use super::*;
use crate::Grants;

fn plugin(read: &[&str], write: &[&str]) -> Caller {
    let all = |names: &[&str]| names.iter().map(|n| (*n).into()).collect();
    let grants = Grants { trades_read: all(read), trades_write: all(write), ..Grants::default() };
    Caller::Plugin { name: "p".into(), grants: Arc::new(grants) }
}

/// The accounts `main`, `paper-1` and `paper-2`, each with one fill.
fn desk() -> Desk {
    let d = Desk::new();
    for name in ["paper-1", "paper-2"] {
        let account = Account { name: name.into(), currency: "USD".into(), broker: None };
        d.trades.open_account(&OP, &account).unwrap();
    }
    for account in ["main", "paper-1", "paper-2"] {
        d.trades.record(&OP, &batch(account, "f-1")).unwrap();
    }
    d
}

fn batch(account: &str, id: &str) -> Batch {
    Batch { account: account.into(), fills: vec![buy(id, "A", "10", "5", 0)], ..Batch::default() }
}

/// Everything that reads one account.
fn reads(d: &Desk, caller: &Caller, account: &str) -> Vec<(&'static str, Result<()>)> {
    let filter = ListFilter { account: account.into(), ..ListFilter::default() };
    let held = PositionsQuery { account: account.into(), ..PositionsQuery::default() };
    let as_of = AsOf::default();
    vec![
        ("fills", d.trades.fills(caller, &filter).map(drop)),
        ("orders", d.trades.orders(caller, &filter).map(drop)),
        ("cash", d.trades.cash_movements(caller, &filter).map(drop)),
        ("positions", d.trades.positions(caller, &held).map(drop)),
        ("state", d.trades.position_state(caller, account, "A", as_of).map(drop)),
        // There is none, which only he learns who may look.
        ("order", d.trades.order(caller, account, "o-1", as_of).map(drop)),
    ]
}

#[test]
fn accounts_that_are_not_granted_are_not_there() {
    let d = desk();
    let p = plugin(&["paper-*"], &["paper-1"]);
    let names = |c: &Caller, after: Option<&str>, limit| {
        let all = d.trades.accounts(c, after, limit).unwrap();
        all.into_iter().map(|a| a.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&p, None, 10), ["paper-1", "paper-2"]);
    assert_eq!(names(&p, None, 1), ["paper-1"], "a page has what may be seen, not what is looked at");
    assert_eq!(names(&p, Some("paper-1"), 1), ["paper-2"]);
    assert_eq!(names(&plugin(&[], &["*"]), None, 10), [""; 0], "to write is not to read");
    assert_eq!(names(&OP, None, PAGE_MAX + 1), ["main", "paper-1", "paper-2"]);
    for account in ["main", "nowhere", "", "paper", "PAPER-1"] {
        for (what, said) in reads(&d, &p, account) {
            assert_eq!(
                said.unwrap_err().kind(),
                Kind::Denied,
                "{what} of {account:?}: it may not learn which there are"
            );
        }
    }
    for (what, said) in reads(&d, &p, "paper-2") {
        let kind = said.map_or_else(|e| Some(e.kind()), |()| None);
        assert_eq!(kind, (what == "order").then_some(Kind::NotFound), "{what}");
    }
    // Within the pattern, and not there; a name is no path.
    for account in ["paper-9", "paper-1/../main"] {
        for (what, said) in reads(&d, &p, account) {
            assert_eq!(said.unwrap_err().kind(), Kind::NotFound, "{what} of {account}");
        }
    }
}

#[test]
fn a_plugin_adds_to_what_it_was_granted_and_is_named_for_it() {
    let d = desk();
    let p = plugin(&["paper-*"], &["paper-1"]);
    for account in ["main", "paper-2", "nowhere", "*"] {
        let e = d.trades.record(&p, &batch(account, "f-2")).unwrap_err();
        assert!(e.kind() == Kind::Denied && e.message().contains("trades.write"), "{account}: {e:?}");
        assert!(e.hint_text().is_some_and(|h| h.contains("shiphold.toml")), "{e:?}");
    }
    assert_eq!(d.trades.record(&p, &batch("paper-1", "f-2")).unwrap().recorded, 1);
    let again = d.trades.record(&p, &batch("paper-1", "f-2")).unwrap();
    assert!(again.recorded == 0 && again.fills[0].replayed, "{again:?}");
    let mut other = batch("paper-1", "f-2");
    other.fills[0].quantity = n("11");
    assert_eq!(d.trades.record(&p, &other).unwrap_err().kind(), Kind::Conflict);
    // One row that cannot be refuses all of it.
    let mut half = batch("paper-1", "f-3");
    half.fills.push(buy("f-4", "nothing", "1", "1", 0));
    assert_eq!(d.trades.record(&p, &half).unwrap_err().kind(), Kind::NotFound);
    let filter = ListFilter { account: "paper-1".into(), ..ListFilter::default() };
    let fills = d.trades.fills(&p, &filter).unwrap();
    let by: Vec<_> = fills.iter().map(|f| (f.fill.client_id.as_str(), f.recorded_by.as_str())).collect();
    assert_eq!(by, [("f-1", "operator"), ("f-2", "plugin:p")]);
    let entry = d.audit.list(&OP, &AuditFilter::default()).unwrap().remove(0);
    assert_eq!((entry.action.as_str(), entry.actor.as_str()), ("trades.record", "plugin:p"));
    assert_eq!(entry.object, "account:paper-1");
}

#[test]
fn a_plugin_changes_nothing_else_of_the_record() {
    let d = desk();
    let all = plugin(&["*"], &["*"]);
    let none = plugin(&[], &[]);
    let account = Account { name: "own".into(), currency: "USD".into(), broker: None };
    let roll = NewRoll { chain: "F".into(), time: T, instrument: Some("F".into()) };
    for said in [
        d.trades.open_account(&all, &account).map(drop),
        d.trades.add_instrument(&all, &share("C")).map(drop),
        d.trades.set_terms(&all, "A", &NewTerms::default()).map(drop),
        d.trades.add_roll(&all, &roll).map(drop),
        d.trades.rebuild(&all, "main").map(drop),
        d.trades.statements(&all, "main", None, 1).map(drop),
        d.trades.instruments(&none, None, 1).map(drop),
        d.trades.instrument(&none, "A", None).map(drop),
        d.trades.actions(&none, "A", AsOf::default()).map(drop),
    ] {
        assert_eq!(said.unwrap_err().kind(), Kind::Denied);
    }
    assert_eq!(d.trades.accounts(&none, None, 9).unwrap(), []);
    // Who may see or add to an account must know what is traded.
    for some in [plugin(&["paper-1"], &[]), plugin(&[], &["paper-1"])] {
        assert_eq!(d.trades.instruments(&some, None, 9).unwrap().len(), 3);
        assert_eq!(d.trades.instrument(&some, "F", None).unwrap().0.multiplier, n("50"));
        d.trades.actions(&some, "A", AsOf::default()).unwrap();
    }
}
