//! Clocks that stand.

use std::time::Duration;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// A clock that shows the call's `now` however often it is read.
pub(super) struct Standing(Duration);

impl Standing {
    /// `now`: nanoseconds since the Unix epoch; a time before it is shown as the epoch, which is the first that WASI knows.
    pub(super) fn at(now: i64) -> Self {
        Self(Duration::from_nanos(u64::try_from(now).unwrap_or(0)))
    }
}

impl HostWallClock for Standing {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

impl HostMonotonicClock for Standing {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_clock_shows_its_time_and_no_time_before_the_epoch() {
        for (now, want) in [(-1, 0), (0, 0), (1_500_000_000, 1_500_000_000), (i64::MAX, i64::MAX as u64)] {
            let clock = Standing::at(now);
            assert_eq!(HostMonotonicClock::now(&clock), want);
            assert_eq!(HostWallClock::now(&clock), Duration::from_nanos(want));
        }
    }
}
