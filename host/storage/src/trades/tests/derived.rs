//! What is computed of the record together with series and skills: adjusted bars, chains of futures, performance.

use super::*;
use crate::layer::DataLayer;
use crate::layer::tests::{layer_over, manifest};
use crate::series::{Budget, Column, Frame, SeriesKey, Values, WriteBatch};
use crate::skills::NewVersion;

const DAY: i64 = 86_400 * SECOND;
/// Midnight.
const D0: i64 = T - T.rem_euclid(DAY);

fn layer(dir: &std::path::Path) -> Arc<DataLayer> {
    layer_with(dir, "")
}

fn layer_with(dir: &std::path::Path, more: &str) -> Arc<DataLayer> {
    let layer = layer_over(&manifest(dir, more), None).0;
    set_up(layer.trades()).unwrap();
    for name in ["A", "B"] {
        let terms = NewTerms { measurement: Some(format!("bar.1d.{name}")), ..NewTerms::default() };
        layer.trades().set_terms(&OP, name, &terms).unwrap();
    }
    layer
}

/// Daily bars from a day on, of which the close is given.
fn bars(layer: &DataLayer, name: &str, day: i64, closes: &[f64]) {
    let times: Vec<i64> = (0..closes.len() as i64).map(|i| D0 + (day + i) * DAY).collect();
    let column = |name: &str, by: f64| Column::float(name, closes.iter().map(|c| c + by).collect());
    let volume = Column::float("volume", vec![100.0; closes.len()]);
    let columns =
        vec![column("open", 0.0), column("high", 1.0), column("low", -1.0), column("close", 0.0), volume];
    let bucket = layer.manifest().series.bucket.clone();
    let key = SeriesKey::new(bucket, format!("bar.1d.{name}"), Vec::new()).unwrap();
    layer.series().engine().write(WriteBatch { series: vec![(key, Frame { times, columns })] }).unwrap();
}

fn column(layer: &DataLayer, query: &BarsQuery, name: &str) -> Vec<f64> {
    let table = layer.adjusted_bars(&OP, query, &Budget::default()).unwrap();
    match &table.column(name).unwrap().values {
        Values::Float(v) => v.clone(),
        other => panic!("{other:?}"),
    }
}

fn action(layer: &DataLayer, day: i64, action: ActionKind) {
    layer
        .trades()
        .add_action(&OP, &NewAction { instrument: "A".into(), time: D0 + day * DAY, action })
        .unwrap();
}

#[test]
fn bars_are_adjusted_for_splits_and_dividends() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    bars(&layer, "A", 0, &[100.0, 102.0, 52.0, 50.0]);
    action(&layer, 2, ActionKind::Split { new: 2, old: 1 });
    let split_known = layer
        .database()
        .read(|c| Ok(c.query_row("SELECT max(recorded_at) FROM trade_batches", [], |r| r.get::<_, i64>(0))?))
        .unwrap();
    action(&layer, 3, ActionKind::Dividend { amount: n("2.6") });
    let of = |adjust| BarsQuery { instrument: Some("A".into()), adjust, ..BarsQuery::default() };
    assert_eq!(column(&layer, &of(Adjust::None), "close"), [100.0, 102.0, 52.0, 50.0]);
    assert_eq!(column(&layer, &of(Adjust::Splits), "close"), [50.0, 51.0, 52.0, 50.0]);
    assert_eq!(column(&layer, &of(Adjust::Splits), "high"), [50.5, 51.5, 53.0, 51.0]);
    assert_eq!(column(&layer, &of(Adjust::Splits), "volume"), [200.0, 200.0, 100.0, 100.0]);
    // 1 − 2.6 / 52 = 0.95
    let all = column(&layer, &of(Adjust::All), "close");
    for (got, want) in all.iter().zip([47.5, 48.45, 49.4, 50.0]) {
        assert!((got - want).abs() < 1e-9, "{all:?}");
    }
    let range = BarsQuery { start: Some(D0 + DAY), end: Some(D0 + 3 * DAY), ..of(Adjust::All) };
    assert_eq!(column(&layer, &range, "close").len(), 2, "what happened after the range counts, too");
    assert!((column(&layer, &range, "close")[1] - 49.4).abs() < 1e-9);
    let then = BarsQuery { known_at: Some(split_known), ..of(Adjust::All) };
    assert_eq!(column(&layer, &then, "close"), [50.0, 51.0, 52.0, 50.0], "before the dividend was known");
    let before = BarsQuery { at: Some(D0 + DAY), ..of(Adjust::All) };
    assert_eq!(column(&layer, &before, "close"), [100.0, 102.0, 52.0, 50.0]);
    // Adjusted before they are put together.
    let week = BarsQuery { resample: Some("1w".into()), ..of(Adjust::Splits) };
    assert_eq!(column(&layer, &week, "volume").iter().sum::<f64>(), 600.0);
    for wrong in [
        BarsQuery::default(),
        BarsQuery { chain: Some("C".into()), ..of(Adjust::None) },
        BarsQuery { start: Some(1), end: Some(0), ..of(Adjust::None) },
    ] {
        assert_eq!(layer.adjusted_bars(&OP, &wrong, &Budget::default()).unwrap_err().kind(), Kind::Invalid);
    }
    let nowhere = BarsQuery { instrument: Some("F".into()), ..BarsQuery::default() };
    assert_eq!(layer.adjusted_bars(&OP, &nowhere, &Budget::default()).unwrap_err().kind(), Kind::NotFound);
}

/// The dividend is of pieces as they are after the split, and the last close is of those before it.
#[test]
fn a_dividend_on_the_day_of_a_split_is_of_its_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    bars(&layer, "A", 0, &[100.0, 100.0, 48.0]);
    action(&layer, 2, ActionKind::Dividend { amount: n("2.5") });
    action(&layer, 2, ActionKind::Split { new: 2, old: 1 });
    let query = BarsQuery { instrument: Some("A".into()), adjust: Adjust::All, ..BarsQuery::default() };
    // 1 − 2.5 / 50 = 0.95
    for (got, want) in column(&layer, &query, "close").iter().zip([47.5, 47.5, 48.0]) {
        assert!((got - want).abs() < 1e-9, "{got} {want}");
    }
}

/// Rows are counted over all contracts, before they are kept.
#[test]
fn the_parts_of_a_chain_have_one_budget() {
    for (rows, enough) in [(4, true), (3, false)] {
        let dir = tempfile::tempdir().unwrap();
        let layer = layer_with(dir.path(), &format!("[limits]\nquery_rows = {rows}\n"));
        bars(&layer, "A", 0, &[100.0, 102.0]);
        bars(&layer, "B", 0, &[110.0, 112.2, 115.0, 116.0]);
        for (day, name) in [(0, "A"), (2, "B")] {
            let new = NewRoll { chain: "C".into(), time: D0 + day * DAY, instrument: Some(name.into()) };
            layer.trades().add_roll(&OP, &new).unwrap();
        }
        let of = BarsQuery { chain: Some("C".into()), ..BarsQuery::default() };
        let resampled = BarsQuery { resample: Some("1w".into()), ..of.clone() };
        for query in [&of, &resampled] {
            let got = layer.adjusted_bars(&OP, query, &Budget::default());
            assert_eq!(got.is_ok(), enough, "{rows}: {got:?}");
            if let Err(e) = got {
                assert!(
                    e.kind() == Kind::Limit && e.hint_text().unwrap().contains("`start` and `end`"),
                    "{e:?}"
                );
            }
        }
        let fewer = BarsQuery { start: Some(D0 + DAY), ..of };
        assert_eq!(column(&layer, &fewer, "close").len(), 3);
        // What is full takes a part without rows.
        let new = NewRoll { chain: "C".into(), time: D0 + 4 * DAY, instrument: Some("A".into()) };
        layer.trades().add_roll(&OP, &new).unwrap();
        assert_eq!(column(&layer, &fewer, "close").len(), 3);
        let one = BarsQuery { instrument: Some("B".into()), ..BarsQuery::default() };
        assert_eq!(layer.adjusted_bars(&OP, &one, &Budget::default()).is_ok(), enough);
    }
}

#[test]
fn a_chain_is_one_series() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    bars(&layer, "A", 0, &[100.0, 102.0, 104.0]);
    bars(&layer, "B", 0, &[110.0, 112.2, 115.0, 116.0]);
    for (day, name) in [(0, "A"), (2, "B")] {
        let new = NewRoll { chain: "C".into(), time: D0 + day * DAY, instrument: Some(name.into()) };
        layer.trades().add_roll(&OP, &new).unwrap();
    }
    let of = |roll| BarsQuery { chain: Some("C".into()), roll, ..BarsQuery::default() };
    assert_eq!(column(&layer, &of(RollBy::None), "close"), [100.0, 102.0, 115.0, 116.0]);
    let close = |roll| column(&layer, &of(roll), "close");
    for (roll, want) in
        [(RollBy::Difference, [110.2, 112.2, 115.0, 116.0]), (RollBy::Ratio, [110.0, 112.2, 115.0, 116.0])]
    {
        for (got, want) in close(roll).iter().zip(want) {
            assert!((got - want).abs() < 1e-9, "{roll:?}: {:?}", close(roll));
        }
    }
    assert_eq!(column(&layer, &of(RollBy::Difference), "volume"), [100.0; 4]);
    let table = layer.adjusted_bars(&OP, &of(RollBy::None), &Budget::default()).unwrap();
    let contracts: Vec<String> = ["A", "A", "B", "B"].map(String::from).into();
    assert_eq!(table.column("contract").unwrap().values, Values::String(contracts));
    let nothing = BarsQuery { chain: Some("D".into()), ..BarsQuery::default() };
    assert_eq!(layer.adjusted_bars(&OP, &nothing, &Budget::default()).unwrap_err().kind(), Kind::NotFound);
    // A contract that has no bars before its roll has no gap that could be known.
    let new = NewRoll { chain: "C".into(), time: D0 - DAY, instrument: Some("B".into()) };
    layer.trades().add_roll(&OP, &new).unwrap();
    let e = layer.adjusted_bars(&OP, &of(RollBy::Ratio), &Budget::default()).unwrap_err();
    assert!(e.kind() == Kind::NotFound && e.hint_text().unwrap().contains("roll=none"), "{e:?}");
    // Nobody asks for it who asks for bars from the roll on.
    assert_eq!(column(&layer, &BarsQuery { start: Some(D0), ..of(RollBy::Ratio) }, "close").len(), 4);
    // Nor does he need to know where the bars of the contracts before it are.
    let new = NewRoll { chain: "C".into(), time: D0 - 2 * DAY, instrument: Some("F".into()) };
    layer.trades().add_roll(&OP, &new).unwrap();
    assert_eq!(column(&layer, &BarsQuery { start: Some(D0), ..of(RollBy::Ratio) }, "close").len(), 4);
}

/// What is held over a split is worth the same before its next bar, and capital is at closes as profit is.
#[test]
fn a_split_and_a_position_from_before_make_no_returns() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    bars(&layer, "A", -1, &[400.0, 400.0]);
    bars(&layer, "A", 2, &[100.0, 110.0]);
    // Another one trades on the day of the split.
    bars(&layer, "B", 0, &[5.0, 5.0, 5.0, 5.0]);
    let at = |day: i64, fill: NewFill| NewFill { time: D0 + day * DAY + 3_600 * SECOND, ..fill };
    let order = |id: &str, instrument: &str, quantity: &str, day: i64| NewOrder {
        time: D0 + day * DAY,
        instrument: instrument.into(),
        ..limit(id, Side::Buy, quantity, 0)
    };
    let batch = Batch {
        account: "main".into(),
        orders: vec![order("o1", "A", "10", -1), order("o2", "B", "1", -1)],
        fills: vec![
            at(-1, free(of("o1", buy("1", "A", "10", "300", 0)))),
            at(-1, free(of("o2", buy("2", "B", "1", "5", 0)))),
        ],
        cash: vec![NewCash { time: D0 - 2 * DAY, ..deposit("d", "10000", 0) }],
        ..Batch::default()
    };
    layer.trades().record(&OP, &batch).unwrap();
    action(&layer, 1, ActionKind::Split { new: 4, old: 1 });
    let query = first_days(3);
    let of_days = |from: i64, to: i64| {
        let query = PerformanceQuery { start: D0 + from * DAY, end: D0 + to * DAY, ..query.clone() };
        layer.skill_performance(&OP, &query, &Budget::default()).unwrap()
    };
    // 10 × 400 are open, of which 3,000 were paid.
    let still = of_days(0, 3);
    assert_eq!((still.capital, still.equity), (n("11000"), n("11000")));
    assert_eq!((still.performance.returns.to_bits(), still.performance.max_drawdown.to_bits()), (0, 0));
    // Between the split and the next bar.
    let until = of_days(0, 2);
    assert_eq!((until.equity, until.unrealised), (n("11000"), n("1000")));
    let later = of_days(2, 4);
    assert_eq!((later.capital, later.equity), (n("11000"), n("11400")));
}

/// No bar comes after the split: what is open is of its pieces all the same.
#[test]
fn a_split_after_the_last_bar_makes_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    bars(&layer, "A", 0, &[400.0, 400.0]);
    let batch = Batch {
        account: "main".into(),
        orders: vec![NewOrder { limit_price: Some(n("300")), time: D0, ..limit("o", Side::Buy, "10", 0) }],
        fills: vec![NewFill { time: D0, ..free(of("o", buy("1", "A", "10", "300", 0))) }],
        ..Batch::default()
    };
    layer.trades().record(&OP, &batch).unwrap();
    action(&layer, 3, ActionKind::Split { new: 4, old: 1 });
    let query = PerformanceQuery { capital: Some(n("10000")), ..first_days(5) };
    let found = layer.skill_performance(&OP, &query, &Budget::default()).unwrap();
    assert_eq!((found.equity, found.unrealised), (n("11000"), n("1000")));
}

#[test]
fn all_instruments_of_a_skill_have_one_budget() {
    for (rows, enough) in [(6, true), (5, false)] {
        let dir = tempfile::tempdir().unwrap();
        let layer = layer_with(dir.path(), &format!("[limits]\nquery_rows = {rows}\n"));
        let order =
            |id: &str, name: &str| NewOrder { instrument: name.into(), ..limit(id, Side::Buy, "1", 0) };
        for name in ["A", "B"] {
            bars(&layer, name, 0, &[10.0, 11.0, 12.0]);
        }
        let batch = Batch {
            account: "main".into(),
            orders: vec![order("a", "A"), order("b", "B")],
            fills: vec![of("a", buy("1", "A", "1", "10", 0)), of("b", buy("2", "B", "1", "10", 0))],
            ..Batch::default()
        };
        layer.trades().record(&OP, &batch).unwrap();
        let query = PerformanceQuery { capital: Some(n("100")), ..first_days(3) };
        let found = layer.skill_performance(&OP, &query, &Budget::default());
        assert_eq!(found.is_ok(), enough, "{rows}: {found:?}");
        assert!(enough || found.unwrap_err().kind() == Kind::Limit);
    }
}

/// How the skill did in the first so many days, on the capital that it took.
fn first_days(days: i64) -> PerformanceQuery {
    PerformanceQuery {
        account: "main".into(),
        skill: "pullback".into(),
        version: "1.0.0".into(),
        start: D0,
        end: D0 + days * DAY,
        capital: None,
        known_at: None,
    }
}

fn free(fill: NewFill) -> NewFill {
    NewFill { fee: Number::ZERO, ..fill }
}

#[test]
fn a_version_of_a_skill_is_judged_by_its_own_orders() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    bars(&layer, "A", -2, &[9.0, 9.5, 10.0, 11.0, 12.0]);
    let at = |day: i64, fill: NewFill| NewFill { time: D0 + day * DAY + 3_600 * SECOND, ..fill };
    let order = |id: &str, side, day: i64| NewOrder { time: D0 + day * DAY, ..limit(id, side, "10", 0) };
    let batch = Batch {
        account: "main".into(),
        orders: vec![
            order("o1", Side::Buy, 0),
            order("o2", Side::Sell, 2),
            NewOrder { version: Some("2.0.0".into()), ..order("other", Side::Buy, 0) },
        ],
        fills: vec![
            at(0, free(of("o1", buy("1", "A", "10", "10", 0)))),
            at(2, free(of("o2", sell("2", "A", "10", "12", 0)))),
            at(0, of("other", buy("3", "A", "7", "10", 0))),
            at(0, buy("4", "B", "7", "10", 0)),
        ],
        cash: vec![NewCash { time: D0 - DAY, ..deposit("d", "1000", 0) }],
        ..Batch::default()
    };
    layer.trades().record(&OP, &batch).unwrap();
    let query = first_days(3);
    let found = layer.skill_performance(&OP, &query, &Budget::default()).unwrap();
    assert_eq!((found.capital, found.equity, found.realised), (n("1000"), n("1020"), n("20")));
    assert_eq!((found.fills, found.trades, found.unrealised), (2, 1, n("0")));
    let p = &found.performance;
    assert_eq!(
        (p.samples, p.win_rate.to_bits(), p.max_drawdown.to_bits()),
        (3, 1_f64.to_bits(), 0_f64.to_bits())
    );
    assert!((p.returns - 0.02).abs() < 1e-12);
    let returns = [0.0, 0.01, 10.0 / 1010.0];
    let mean = returns.iter().sum::<f64>() / 3.0;
    let deviation = (returns.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    let want = mean / deviation * (3.0 / (3.0 / 365.25_f64)).sqrt();
    assert!((p.sharpe - want).abs() < 1e-9, "{} {want}", p.sharpe);
    assert!((found.exposure - (0.1 + 110.0 / 1010.0) / 3.0).abs() < 1e-12);

    // From the middle on, with capital of its own: what was made before counts before.
    let later =
        PerformanceQuery { start: D0 + DAY, end: D0 + 2 * DAY, capital: Some(n("500")), ..query.clone() };
    let found = layer.skill_performance(&OP, &later, &Budget::default()).unwrap();
    assert_eq!((found.equity, found.realised, found.fills), (n("510"), n("0"), 0));
    let dear = PerformanceQuery { end: D0 + DAY, ..query.clone() };
    assert_eq!(layer.skill_performance(&OP, &dear, &Budget::default()).unwrap().performance.samples, 1);

    // A plugin needs the account, and the series that the prices are from.
    let plugin = |account: &str, series: &str| {
        let grants = crate::Grants {
            trades_read: vec![account.into()],
            series_read: vec![series.into()],
            ..crate::Grants::default()
        };
        let caller = Caller::Plugin { name: "p".into(), grants: grants.into() };
        layer.skill_performance(&caller, &query, &Budget::default())
    };
    assert_eq!(plugin("main", "market/bar.1d.*").unwrap().equity, n("1020"));
    for (account, series) in [("other", "market/*"), ("main", "metrics/*")] {
        assert_eq!(plugin(account, series).unwrap_err().kind(), Kind::Denied, "{account} {series}");
    }

    // Fed to the skill, it is what is believed of it.
    let unknown = layer.record_skill_performance(&OP, &query, &Budget::default()).unwrap_err();
    assert_eq!(unknown.kind(), Kind::NotFound);
    let skill = NewVersion {
        name: "pullback".into(),
        version: Some("1.0.0".parse().unwrap()),
        language: "python".into(),
        code: "pass".into(),
        ..NewVersion::default()
    };
    layer.skills().put(&OP, skill).unwrap();
    layer.record_skill_performance(&OP, &query, &Budget::default()).unwrap();
    let recorded = layer.skills().performance(&OP, "pullback").unwrap();
    assert_eq!((recorded.len(), recorded[0].performance.samples), (1, 3));

    for wrong in [
        PerformanceQuery { end: D0, ..query.clone() },
        PerformanceQuery { start: -1, ..query.clone() },
        PerformanceQuery { start: 0, end: (DAYS_MAX + 1) * DAY, ..query.clone() },
        PerformanceQuery { version: "one".into(), ..query.clone() },
        PerformanceQuery { capital: Some(n("0")), ..query.clone() },
    ] {
        assert_eq!(
            layer.skill_performance(&OP, &wrong, &Budget::default()).unwrap_err().kind(),
            Kind::Invalid
        );
    }
    let never = PerformanceQuery { skill: "nobody".into(), ..query };
    assert_eq!(layer.skill_performance(&OP, &never, &Budget::default()).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_fall_between_days_is_a_drawdown() {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path());
    bars(&layer, "A", 0, &[10.0, 12.0, 6.0, 9.0]);
    let batch = Batch {
        account: "main".into(),
        orders: vec![limit("o", Side::Buy, "10", 0)],
        fills: vec![NewFill { time: D0, ..free(of("o", buy("1", "A", "10", "10", 0))) }],
        ..Batch::default()
    };
    layer.trades().record(&OP, &batch).unwrap();
    let query = PerformanceQuery { capital: Some(n("100")), ..first_days(4) };
    let found = layer.skill_performance(&OP, &query, &Budget::default()).unwrap();
    assert_eq!((found.equity, found.unrealised, found.trades), (n("90"), n("-10"), 0));
    assert!((found.performance.max_drawdown - 0.5).abs() < 1e-12, "120 to 60");
    // Its fees are its own.
    assert_eq!(found.fees, n("0"));
}
