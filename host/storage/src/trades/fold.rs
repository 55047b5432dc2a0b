//! What fills add up to: quantity, cost, profit and cash of one instrument in one account. Pure arithmetic; everything that is derived
//! goes through it.
//!
//! What a quantity is worth at a price is rounded, half to even, where it has more digits than a number: after a split any quantity may
//! be held, and must be closed. Cost is kept at its average: a part that is sold takes that part of the cost with it, rounded towards
//! zero at the last digit, and the last part takes all that is left. No sum is rounded. So, to the last digit, always
//!
//! - `cash = realised − cost − fees` where the whole price is paid, and
//! - `cash = realised − fees` of futures, of which only the profit is.

use super::number::Number;
use super::types::{InstrumentKind, Side};
use crate::error::{Error, Result};

/// Bytes of a stored state: a version, six numbers and a count.
const STATE_BYTES: usize = 1 + 6 * 16 + 8;
const STATE_VERSION: u8 = 1;

/// What is known of an instrument that a sum rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub kind: InstrumentKind,
    pub multiplier: Number,
}

impl Terms {
    /// What so much is worth at a price: exact, or rounded once, half to even, at the last digit.
    pub fn value(self, quantity: Number, price: Number) -> Result<Number> {
        quantity.times_both(price, self.multiplier)
    }

    /// Is only the profit paid, and not the price?
    pub const fn is_margined(self) -> bool {
        matches!(self.kind, InstrumentKind::Future)
    }
}

/// One thing that happened, in the order of [`Key`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    Fill {
        side: Side,
        quantity: Number,
        price: Number,
        fee: Number,
    },
    /// So many pieces became so many.
    Split {
        new: i64,
        old: i64,
    },
}

/// Time, and among fills of one time the number of the first version. A split comes before the fills of its time.
pub type Key = (i64, i64);

/// A position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// Below zero: it was sold short.
    pub quantity: Number,
    /// What the open quantity cost, with its sign.
    pub cost: Number,
    pub realised: Number,
    pub fees: Number,
    /// What all of it added to the account's cash.
    pub cash: Number,
    /// Price of the last fill, after splits.
    pub last_price: Number,
    pub fills: u64,
}

impl State {
    /// Adds an event; the profit that it realised.
    pub fn add(&mut self, terms: Terms, event: Event) -> Result<Number> {
        match event {
            Event::Fill { side, quantity, price, fee } => {
                let signed = match side {
                    Side::Buy => quantity,
                    Side::Sell => -quantity,
                };
                self.fill(terms, signed, price, fee)
            }
            Event::Split { new, old } => self.split(terms, new, old),
        }
    }

    fn fill(&mut self, terms: Terms, quantity: Number, price: Number, fee: Number) -> Result<Number> {
        let mut next = *self;
        let value = terms.value(quantity, price)?;
        let mut profit = Number::ZERO;
        let opens = self.quantity.is_zero() || self.quantity.is_negative() == quantity.is_negative();
        if opens {
            next.cost = self.cost.plus(value)?;
        } else {
            let (size, held) = (quantity.abs(), self.quantity.abs());
            let removed = if size < held { self.cost.share(size, held)? } else { self.cost };
            let closing = if size <= held { value } else { terms.value(-self.quantity, price)? };
            profit = Number::ZERO.minus(closing)?.minus(removed)?;
            // What is beyond the held quantity is held the other way round.
            next.cost = if size <= held { self.cost.minus(removed)? } else { value.minus(closing)? };
        }
        next.quantity = self.quantity.plus(quantity)?;
        next.realised = self.realised.plus(profit)?;
        next.fees = self.fees.plus(fee)?;
        let paid = if terms.is_margined() { profit } else { -value };
        next.cash = self.cash.plus(paid)?.minus(fee)?;
        next.last_price = price;
        // What could not be valued could not be shown.
        terms.value(next.quantity, price)?;
        next.fills = self.fills.saturating_add(1);
        *self = next;
        Ok(profit)
    }

    fn split(&mut self, terms: Terms, new: i64, old: i64) -> Result<Number> {
        let (new, old) = (Number::whole(new), Number::whole(old));
        let quantity = self.quantity.share(new, old)?;
        let mut next = Self { quantity, last_price: self.last_price.share(old, new)?, ..*self };
        let mut profit = Number::ZERO;
        if quantity.is_zero() && !self.cost.is_zero() {
            // Nothing is left of it: what it cost is lost.
            profit = -self.cost;
            next.realised = self.realised.plus(profit)?;
            next.cost = Number::ZERO;
            if terms.is_margined() {
                next.cash = self.cash.plus(profit)?;
            }
        }
        *self = next;
        Ok(profit)
    }

    /// What the open quantity would bring at a price beyond its cost.
    pub fn unrealised(&self, terms: Terms, price: Number) -> Result<Number> {
        terms.value(self.quantity, price)?.minus(self.cost)
    }

    /// Cost of one piece, rounded towards zero at the last digit; `None` of nothing, and where it is too large to be held, as after
    /// splits of a million into one: that must not keep anybody from reading the rest.
    pub fn average(&self, terms: Terms) -> Option<Number> {
        let pieces = self.quantity.times(terms.multiplier).ok().filter(|pieces| !pieces.is_zero())?;
        self.cost.share(Number::ONE, pieces).ok()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(STATE_BYTES);
        bytes.push(STATE_VERSION);
        for number in [self.quantity, self.cost, self.realised, self.fees, self.cash, self.last_price] {
            bytes.extend_from_slice(&number.units().to_le_bytes());
        }
        bytes.extend_from_slice(&self.fills.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let torn = || {
            Error::corrupt("a stored state of a position cannot be read")
                .hint("`shiphold trades rebuild` makes the states anew")
        };
        let (version, rest) = bytes.split_first().ok_or_else(torn)?;
        if bytes.len() != STATE_BYTES || *version != STATE_VERSION {
            return Err(torn());
        }
        let (numbers, count) = rest.as_chunks::<16>();
        let [quantity, cost, realised, fees, cash, last_price] = numbers else { return Err(torn()) };
        let number = |bytes: &[u8; 16]| Number::from_units(i128::from_le_bytes(*bytes));
        Ok(Self {
            quantity: number(quantity),
            cost: number(cost),
            realised: number(realised),
            fees: number(fees),
            cash: number(cash),
            last_price: number(last_price),
            fills: u64::from_le_bytes(count.try_into().map_err(|_| torn())?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHARES: Terms = Terms { kind: InstrumentKind::Equity, multiplier: Number::ONE };
    const FUTURE: Terms = Terms { kind: InstrumentKind::Future, multiplier: Number::whole(50) };

    fn n(text: &str) -> Number {
        text.parse().unwrap()
    }

    fn fill(side: Side, quantity: &str, price: &str) -> Event {
        Event::Fill { side, quantity: n(quantity), price: n(price), fee: n("1") }
    }

    fn sum(terms: Terms, events: &[Event]) -> State {
        let mut state = State::default();
        for event in events {
            state.add(terms, *event).unwrap();
        }
        state
    }

    #[test]
    fn shares_are_bought_sold_and_sold_short() {
        let mut events = vec![fill(Side::Buy, "10", "100"), fill(Side::Buy, "20", "130")];
        let bought = sum(SHARES, &events);
        assert_eq!((bought.quantity, bought.cost, bought.cash), (n("30"), n("3600"), n("-3602")));
        assert_eq!(bought.average(SHARES), Some(n("120")));
        assert_eq!(bought.unrealised(SHARES, n("125")).unwrap(), n("150"));
        events.push(fill(Side::Sell, "15", "140"));
        let sold = sum(SHARES, &events);
        assert_eq!((sold.quantity, sold.cost, sold.realised), (n("15"), n("1800"), n("300")));
        events.push(fill(Side::Sell, "25", "110"));
        let short = sum(SHARES, &events);
        assert_eq!((short.quantity, short.cost, short.realised), (n("-10"), n("-1100"), n("150")));
        assert_eq!(short.unrealised(SHARES, n("100")).unwrap(), n("100"));
        events.push(fill(Side::Buy, "10", "90"));
        let flat = sum(SHARES, &events);
        assert_eq!((flat.quantity, flat.cost, flat.realised), (n("0"), n("0"), n("350")));
        assert_eq!((flat.fees, flat.cash, flat.fills), (n("5"), n("345"), 5));
        assert_eq!(flat.average(SHARES), None);
    }

    #[test]
    fn of_futures_the_profit_is_paid() {
        let open = sum(FUTURE, &[fill(Side::Buy, "2", "5000.25")]);
        assert_eq!((open.cost, open.cash), (n("500025"), n("-1")));
        assert_eq!(open.average(FUTURE), Some(n("5000.25")));
        let closed = sum(FUTURE, &[fill(Side::Buy, "2", "5000.25"), fill(Side::Sell, "2", "5001.25")]);
        assert_eq!((closed.realised, closed.cash), (n("100"), n("98")));
    }

    #[test]
    fn splits_leave_the_cost() {
        let held = sum(SHARES, &[fill(Side::Buy, "10", "100"), Event::Split { new: 3, old: 1 }]);
        assert_eq!(
            (held.quantity, held.cost, held.last_price.to_string()),
            (n("30"), n("1000"), "33.333333333333333333".into())
        );
        let gone =
            sum(SHARES, &[fill(Side::Buy, "0.000000000000000001", "100"), Event::Split { new: 1, old: 10 }]);
        assert_eq!((gone.quantity, gone.cost, gone.realised), (n("0"), n("0"), n("-0.0000000000000001")));
        let tiny = fill(Side::Sell, "0.000000000000000001", "100");
        let gone = sum(FUTURE, &[tiny, Event::Split { new: 1, old: 10 }]);
        assert_eq!((gone.realised, gone.cash), (n("0.000000000000005"), n("-0.999999999999995")));
    }

    #[test]
    fn what_a_split_leaves_can_be_closed() {
        // One of three, and 3.333333333333333333 × 101.25 has twenty digits.
        let split = Event::Split { new: 1, old: 3 };
        let held = sum(SHARES, &[fill(Side::Buy, "10", "33.75"), split]);
        assert_eq!((held.quantity, held.cost), (n("3.333333333333333333"), n("337.5")));
        let closed = sum(
            SHARES,
            &[fill(Side::Buy, "10", "33.75"), split, fill(Side::Sell, "3.333333333333333333", "101.25")],
        );
        assert_eq!((closed.quantity, closed.cost), (n("0"), n("0")));
        assert_eq!((closed.realised, closed.cash), (n("-0.000000000000000034"), n("-2.000000000000000034")));
        // Turned over, what is beyond it is held with the rest of what was paid.
        let turned = sum(SHARES, &[fill(Side::Buy, "10", "33.75"), split, fill(Side::Sell, "4", "101.25")]);
        assert_eq!((turned.quantity, turned.cost), (n("-0.666666666666666667"), n("-67.500000000000000034")));
        let future = sum(
            FUTURE,
            &[fill(Side::Sell, "10", "1"), split, fill(Side::Buy, "3.333333333333333333", "0.7")],
        );
        assert_eq!((future.quantity, future.cost), (n("0"), n("0")));
        assert_eq!(future.cash, n("383.333333333333333345").minus(n("2")).unwrap());
    }

    #[test]
    fn an_average_that_cannot_be_held_is_none() {
        let twice = [Event::Split { new: 1, old: 1_000_000 }; 2];
        let free = fill(Side::Buy, "0.000000000000000001", "0");
        let held = sum(SHARES, &[&[fill(Side::Buy, "1", "1000000000000"), free][..], &twice].concat());
        assert_eq!((held.quantity, held.average(SHARES)), (n("0.000000000001"), None));
        assert_eq!(held.cost, n("1000000000000"));
    }

    #[test]
    fn what_cannot_be_added_leaves_the_state() {
        let mut state =
            State { quantity: Number::from_units(i128::MAX), cost: Number::ONE, ..State::default() };
        let before = state;
        assert!(state.add(SHARES, fill(Side::Buy, "1", "1")).is_err());
        assert!(state.add(SHARES, Event::Split { new: 2, old: 1 }).is_err());
        assert_eq!(state, before);
        // What is held could be counted, and its price could not.
        let mut dear =
            State { quantity: Number::ONE, last_price: Number::from_units(i128::MAX), ..State::default() };
        let before = dear;
        assert!(dear.add(SHARES, Event::Split { new: 1, old: 2 }).is_err());
        assert_eq!(dear, before);
    }

    #[test]
    fn a_torn_state_is_named() {
        let state = sum(SHARES, &[fill(Side::Buy, "10", "100")]);
        let bytes = state.encode();
        assert_eq!((bytes.len(), State::decode(&bytes).unwrap()), (STATE_BYTES, state));
        for wrong in [&bytes[1..], &bytes[..STATE_BYTES - 1], &[], &[vec![9], bytes[1..].to_vec()].concat()] {
            assert_eq!(State::decode(wrong).unwrap_err().kind(), crate::Kind::Corrupt);
        }
    }

    /// What happens, or that all that is held is closed.
    #[derive(Debug, Clone, Copy)]
    enum Next {
        Happens(Event),
        Closes { price: Number, fee: Number },
    }

    fn next() -> impl Strategy<Value = Next> {
        let number = |most: i64| {
            (1..most).prop_map(|n| Number::whole(n).share(Number::ONE, Number::whole(1_000)).unwrap())
        };
        let fill = (any::<bool>(), number(10_000), number(1_000_000), number(5_000)).prop_map(
            |(buys, quantity, price, fee)| {
                let side = if buys { Side::Buy } else { Side::Sell };
                Next::Happens(Event::Fill { side, quantity, price, fee })
            },
        );
        let split = (1_i64..20, 1_i64..20).prop_map(|(new, old)| Next::Happens(Event::Split { new, old }));
        let close = (number(1_000_000), number(5_000)).prop_map(|(price, fee)| Next::Closes { price, fee });
        prop_oneof![20 => fill, 2 => split, 2 => close]
    }

    impl Next {
        fn of(self, held: Number) -> Option<Event> {
            match self {
                Self::Happens(event) => Some(event),
                Self::Closes { .. } if held.is_zero() => None,
                Self::Closes { price, fee } => {
                    let side = if held.is_negative() { Side::Buy } else { Side::Sell };
                    Some(Event::Fill { side, quantity: held.abs(), price, fee })
                }
            }
        }
    }

    proptest! {
        #[test]
        fn cash_always_balances(all in proptest::collection::vec(next(), 0..60), future in any::<bool>()) {
            let terms = if future { FUTURE } else { SHARES };
            let (mut state, mut profit, mut bought) = (State::default(), Number::ZERO, Number::ZERO);
            let (mut paid, mut fees) = (Number::ZERO, Number::ZERO);
            for next in all {
                let Some(event) = next.of(state.quantity) else { continue };
                profit = profit.plus(state.add(terms, event).unwrap()).unwrap();
                match event {
                    Event::Fill { side, quantity, price, fee } => {
                        let signed = if side == Side::Buy { quantity } else { -quantity };
                        bought = bought.plus(signed).unwrap();
                        paid = paid.plus(terms.value(signed, price).unwrap()).unwrap();
                        fees = fees.plus(fee).unwrap();
                    }
                    Event::Split { new, old } => bought = bought.share(Number::whole(new), Number::whole(old)).unwrap(),
                }
                let open = if future { Number::ZERO } else { state.cost };
                prop_assert_eq!(state.cash, state.realised.minus(open).unwrap().minus(state.fees).unwrap());
                // Of what is paid in full every fill has its own part of the cash, and nothing else has.
                prop_assert!(future || state.cash == Number::ZERO.minus(paid).unwrap().minus(fees).unwrap());
                prop_assert_eq!((state.quantity, state.realised, state.fees), (bought, profit, fees));
                let closes = matches!(next, Next::Closes { .. });
                prop_assert!(!closes || state.quantity.is_zero());
                prop_assert!(!state.quantity.is_zero() || state.cost.is_zero());
                prop_assert!(state.cost.is_zero() || state.cost.is_negative() == state.quantity.is_negative());
                prop_assert_eq!(State::decode(&state.encode()).unwrap(), state);
            }
        }
    }
}
