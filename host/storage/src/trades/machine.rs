//! The states of an order. What the trader and the broker say of it are events, in the order of their times; how much of it is filled is
//! what its fills say. An event that comes late takes its place among the others, and is refused where it cannot stand.

use super::number::Number;
use super::types::EventState;
use crate::error::{Error, Result};
use serde::Serialize;

/// What an order is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderState {
    /// Recorded, and nothing was said of it.
    New,
    Submitted,
    Accepted,
    PartiallyFilled,
    CancelRequested,
    Filled,
    Cancelled,
    Rejected,
    Expired,
}

/// An event, and when it happened.
pub(super) type At = (i64, EventState);

impl EventState {
    /// Is nothing said of an order after it?
    pub const fn ends(self) -> bool {
        matches!(self, Self::Cancelled | Self::Rejected | Self::Expired)
    }

    /// Among events of one time.
    const fn rank(self) -> u8 {
        match self {
            Self::Submitted => 0,
            Self::Accepted => 1,
            Self::CancelRequested => 2,
            Self::Cancelled | Self::Rejected | Self::Expired => 3,
        }
    }

    /// May it come after another one, or first? Messages get lost, so steps may be left out.
    const fn may_follow(self, before: Option<Self>) -> bool {
        use EventState::{Accepted, CancelRequested, Submitted};
        match (before, self) {
            (None, _) | (Some(Submitted), Accepted) => true,
            // A cancel that the broker refuses leaves the order as it was.
            (Some(CancelRequested), Accepted) | (Some(Submitted | Accepted), CancelRequested) => true,
            (Some(Submitted | CancelRequested), to) => to.ends(),
            // What was accepted is not rejected any more.
            (Some(Accepted), to) => to.ends() && !matches!(to, Self::Rejected),
            (Some(_), _) => false,
        }
    }
}

/// Puts events into their order; refused where one cannot come after the one before it.
pub(super) fn in_order(mut events: Vec<At>) -> Result<Vec<At>> {
    events.sort_by_key(|(time, state)| (*time, state.rank()));
    let mut before: Option<At> = None;
    for (time, state) in &events {
        if !state.may_follow(before.map(|(_, state)| state)) {
            let (at, was) = before.unwrap_or((*time, *state));
            return Err(Error::conflict(format!(
                "an order that is `{}` at {at} cannot be `{}` at {time}",
                was.word(),
                state.word()
            ))
            .hint("docs/trades.md shows which states follow which; look at the times of both"));
        }
        before = Some((*time, *state));
    }
    Ok(events)
}

/// The event that ended an order.
pub(super) fn end(events: &[At]) -> Option<At> {
    events.last().copied().filter(|(_, state)| state.ends())
}

/// The state of an order of which so much is filled; `events` in their order.
pub(super) fn state(events: &[At], filled: Number, quantity: Number) -> OrderState {
    if filled >= quantity {
        return OrderState::Filled;
    }
    let partly = !filled.is_zero();
    match events.last().map(|(_, state)| *state) {
        Some(EventState::Cancelled) => OrderState::Cancelled,
        Some(EventState::Rejected) => OrderState::Rejected,
        Some(EventState::Expired) => OrderState::Expired,
        Some(EventState::CancelRequested) => OrderState::CancelRequested,
        _ if partly => OrderState::PartiallyFilled,
        Some(EventState::Accepted) => OrderState::Accepted,
        Some(EventState::Submitted) => OrderState::Submitted,
        None => OrderState::New,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EventState::{Accepted, CancelRequested, Cancelled, Expired, Rejected, Submitted};

    #[test]
    fn what_may_follow_what() {
        for good in [
            &[Submitted, Accepted, CancelRequested, Cancelled][..],
            &[Submitted, Rejected],
            &[Accepted, CancelRequested, Accepted, Expired],
            &[CancelRequested, Rejected],
            &[Cancelled],
            &[Submitted, CancelRequested, Accepted, CancelRequested, Cancelled],
        ] {
            let events = good.iter().zip(1..).map(|(state, time)| (time, *state)).collect();
            assert!(in_order(events).is_ok(), "{good:?}");
        }
        for bad in [
            &[Accepted, Submitted][..],
            &[Accepted, Rejected],
            &[Cancelled, Accepted],
            &[Cancelled, Expired],
            &[Rejected, CancelRequested],
            &[Submitted, Submitted],
            &[CancelRequested, Submitted],
        ] {
            let events = bad.iter().zip(1..).map(|(state, time)| (time, *state)).collect();
            assert_eq!(in_order(events).unwrap_err().kind(), crate::Kind::Conflict, "{bad:?}");
        }
    }

    #[test]
    fn a_late_event_takes_its_place() {
        let events =
            in_order(vec![(9, Cancelled), (1, Submitted), (5, CancelRequested), (5, Accepted)]).unwrap();
        assert_eq!(events, [(1, Submitted), (5, Accepted), (5, CancelRequested), (9, Cancelled)]);
        assert_eq!(end(&events), Some((9, Cancelled)));
        assert_eq!(end(&events[..3]), None);
    }

    #[test]
    fn fills_count_before_words() {
        let (none, half, all) = (Number::ZERO, Number::whole(5), Number::whole(10));
        for (events, filled, want) in [
            (&[][..], none, OrderState::New),
            (&[], half, OrderState::PartiallyFilled),
            (&[(1, Accepted)], half, OrderState::PartiallyFilled),
            (&[(1, Accepted)], none, OrderState::Accepted),
            (&[(1, Cancelled)], half, OrderState::Cancelled),
            (&[(1, Cancelled)], all, OrderState::Filled),
            (&[(1, CancelRequested)], half, OrderState::CancelRequested),
            (&[(1, Rejected)], none, OrderState::Rejected),
            (&[(1, Expired)], none, OrderState::Expired),
            (&[(1, Submitted)], none, OrderState::Submitted),
        ] {
            assert_eq!(state(events, filled, all), want, "{events:?} {filled}");
        }
    }
}
