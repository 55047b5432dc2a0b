//! The time by which the outbox waits: the system's, or one that a test moves by hand.

#[cfg(test)]
use super::lock;
#[cfg(test)]
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Default)]
pub(in crate::series::influx) enum Clock {
    #[default]
    System,
    #[cfg(test)]
    ByHand(Arc<ByHand>),
}

/// Stands still until it is moved.
#[cfg(test)]
#[derive(Debug)]
pub(in crate::series::influx) struct ByHand {
    begin: Instant,
    gone: Mutex<Duration>,
}

#[cfg(test)]
impl ByHand {
    /// How often a waiting thread looks at it.
    const LOOK: Duration = Duration::from_micros(200);

    pub fn new() -> Arc<Self> {
        Arc::new(Self { begin: Instant::now(), gone: Mutex::default() })
    }
    pub fn advance(&self, by: Duration) {
        *lock(&self.gone) += by;
    }
    pub fn now(&self) -> Instant {
        self.begin + *lock(&self.gone)
    }
}

impl Clock {
    pub fn now(&self) -> Instant {
        match self {
            Self::System => Instant::now(),
            #[cfg(test)]
            Self::ByHand(clock) => clock.now(),
        }
    }

    /// How long a thread may wait at once when `left` is left.
    pub fn at_once(&self, left: Duration) -> Duration {
        match self {
            Self::System => left,
            #[cfg(test)]
            Self::ByHand(_) => left.min(ByHand::LOOK),
        }
    }
}
