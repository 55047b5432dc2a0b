//! Whatever is recorded in whatever order, positions are the sum of fills and cash balances: against a model that keeps every row in a list
//! and adds up all of it each time.

use super::*;
use crate::testing::random::Random;
use std::collections::BTreeMap;

const INSTRUMENTS: [&str; 3] = ["A", "B", "F"];

/// A row of the model: the batch that it came with, and the place of its first version in the list.
#[derive(Clone)]
struct Row {
    batch: usize,
    first: usize,
    fill: NewFill,
}

#[derive(Default)]
struct Model {
    fills: Vec<Row>,
    /// Batch, time in seconds, amount.
    cash: Vec<(usize, i64, i64)>,
    /// Batch, instrument, time in seconds, new and old.
    splits: Vec<(usize, &'static str, i64, i64, i64)>,
}

impl Model {
    /// What counts of an instrument, in order, as of a moment and a batch.
    fn events(&self, instrument: &str, at: i64, known: usize) -> Vec<Event> {
        let mut newest: BTreeMap<usize, &Row> = BTreeMap::new();
        for row in self.fills.iter().filter(|r| r.batch <= known) {
            newest.insert(row.first, row);
        }
        let mut all: Vec<(i64, u8, usize, Event)> = newest
            .into_values()
            .filter(|r| r.fill.instrument == instrument && r.fill.time <= at && !r.fill.void)
            .map(|r| (r.fill.time, 1, r.first, Event::Fill(r.fill.clone())))
            .collect();
        for (i, (batch, of, seconds, new, old)) in self.splits.iter().enumerate() {
            let time = T + seconds * SECOND;
            if *of == instrument && time <= at && *batch <= known {
                all.push((time, 0, i, Event::Split(*new, *old)));
            }
        }
        all.sort_by_key(|(time, kind, i, _)| (*time, *kind, *i));
        all.into_iter().map(|(.., event)| event).collect()
    }

    fn check(&self, desk: &Desk, at: Option<i64>, known: usize, known_at: Option<i64>) {
        let have = desk.positions(at, known_at);
        let at = at.unwrap_or(i64::MAX);
        let moved = self.cash.iter().filter(|(b, s, _)| *b <= known && T + s * SECOND <= at);
        let mut cash = moved.fold(Number::ZERO, |sum, (.., amount)| plus(sum, Number::whole(*amount)));
        for instrument in INSTRUMENTS {
            let events = self.events(instrument, at, known);
            let (mut state, terms) = (PositionState::default(), terms(instrument));
            let (mut held, mut paid, mut fees, mut fills) = (Number::ZERO, Number::ZERO, Number::ZERO, 0);
            for event in &events {
                match event {
                    Event::Split(new, old) => {
                        held = held.share(Number::whole(*new), Number::whole(*old)).unwrap();
                        state.add(terms, fold::Event::Split { new: *new, old: *old }).unwrap();
                    }
                    Event::Fill(f) => {
                        let signed = if f.side == Side::Buy { f.quantity } else { -f.quantity };
                        (held, fees, fills) = (plus(held, signed), plus(fees, f.fee), fills + 1);
                        paid = plus(paid, signed.times(f.price).unwrap());
                        let event = fold::Event::Fill {
                            side: f.side,
                            quantity: f.quantity,
                            price: f.price,
                            fee: f.fee,
                        };
                        state.add(terms, event).unwrap();
                    }
                }
            }
            let there = have.positions.iter().find(|p| p.instrument == instrument);
            assert_eq!(there.map_or(0, |p| p.fills), fills, "{instrument}");
            let Some(there) = there else { continue };
            assert_eq!((there.quantity, there.fees), (held, fees), "{instrument}");
            assert_eq!((there.cost, there.realised), (state.cost, state.realised), "{instrument}");
            let got = if instrument == "F" { there.realised } else { -paid };
            cash = plus(plus(cash, got), -fees);
        }
        let balance = have.balances.iter().find(|b| b.currency == "USD");
        assert_eq!(balance.map_or(Number::ZERO, |b| b.cash), cash);
        if let Some(b) = balance {
            assert_eq!(b.equity, plus(plus(plus(b.moved, b.realised), b.unrealised), -b.fees));
            let worth = |p: &Position| if p.instrument == "F" { p.unrealised } else { p.value };
            assert_eq!(
                b.equity,
                have.positions.iter().fold(b.cash, |sum, p| plus(sum, worth(p))),
                "cash balances"
            );
        }
    }
}

fn plus(a: Number, b: Number) -> Number {
    a.plus(b).unwrap()
}

enum Event {
    Fill(NewFill),
    Split(i64, i64),
}

fn terms(instrument: &str) -> Terms {
    match instrument {
        "F" => Terms { kind: InstrumentKind::Future, multiplier: Number::whole(50) },
        _ => Terms { kind: InstrumentKind::Equity, multiplier: Number::ONE },
    }
}

fn random_fill(random: &mut Random, id: &str) -> NewFill {
    let cents = |n: i64| Number::whole(n).share(Number::ONE, Number::whole(100)).unwrap();
    NewFill {
        side: if random.coin() { Side::Buy } else { Side::Sell },
        quantity: cents(random.between(1, 4_000)),
        price: cents(random.between(1, 30_000)),
        fee: cents(random.between(-20, 200)),
        ..buy(id, random.pick(&INSTRUMENTS).unwrap(), "1", "1", random.between(0, 400))
    }
}

fn run(seed: u64, batches: usize) {
    let desk = Desk::new();
    let (mut model, mut random) = (Model::default(), Random::new(seed));
    let mut known = Vec::new();
    for batch in 0..batches {
        if random.one_in(12) {
            let instrument = if random.coin() { "A" } else { "B" };
            let (seconds, twice) = (random.between(0, 400), random.coin());
            let (new, old) = if twice { (random.between(2, 5), 1) } else { (1, random.between(2, 5)) };
            let new_action = NewAction {
                instrument: instrument.into(),
                time: T + seconds * SECOND,
                action: ActionKind::Split { new, old },
            };
            let before = desk.last_recorded();
            desk.trades.add_action(&OP, &new_action).unwrap();
            if desk.last_recorded() > before {
                model.splits.push((batch, instrument, seconds, new, old));
            }
            known.push(desk.last_recorded());
            continue;
        }
        let mut rows = Batch::default();
        for i in 0..random.between(1, 25) {
            let id = format!("{batch}-{i}");
            if random.one_in(10) {
                let (seconds, amount) = (random.between(0, 400), random.between(1, 1_000));
                rows.cash.push(deposit(&id, &amount.to_string(), seconds));
                model.cash.push((batch, seconds, amount));
                continue;
            }
            let mut fill = random_fill(&mut random, &id);
            if random.one_in(8) {
                // All that is held by now, which after splits has any digits.
                let held = desk.quantity(&fill.instrument);
                if !held.is_zero() {
                    let side = if held.is_negative() { Side::Buy } else { Side::Sell };
                    fill = NewFill { side, quantity: held.abs(), time: T + 400 * SECOND, ..fill };
                }
            }
            let mut first = model.fills.len();
            if first > 0 && random.one_in(4) {
                let of = random.pick(&model.fills).unwrap().clone();
                fill = NewFill { void: random.one_in(4), ..corrects(&of.fill.client_id, fill) };
                first = of.first;
            }
            model.fills.push(Row { batch, first, fill: fill.clone() });
            rows.fills.push(fill);
        }
        let answer = desk.record(rows.clone()).unwrap();
        assert_eq!(answer.recorded as usize, rows.fills.len() + rows.cash.len());
        known.push(desk.last_recorded());
        if random.one_in(4) {
            assert_eq!(desk.record(rows).unwrap().recorded, 0, "the same again");
        }
        if random.one_in(5) {
            desk.trades.rebuild(&OP, "main").unwrap();
            if random.coin() {
                desk.trades.maintain().unwrap();
            }
        }
        model.check(&desk, None, batch, None);
        let at = T + random.between(-1, 401) * SECOND;
        model.check(&desk, Some(at), batch, None);
        let then = random.below(known.len());
        model.check(&desk, Some(at), then, Some(known[then]));
        model.check(&desk, None, then, Some(known[then]));
    }
    let proof = desk.audit.verify(&OP).unwrap();
    assert!(proof.broken.is_none(), "{proof:?}");
}

#[test]
fn random_interleavings_equal_the_model() {
    for seed in 0..crate::testing::random::number("SHIPHOLD_TRADES_SEEDS", 12) {
        run(seed, 40);
    }
}
