//! Which operation of a disk goes wrong, and how.

use std::io;

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No room is left (ENOSPC).
    Full,
    /// The device refuses (EIO).
    Io,
}

impl Fault {
    /// What a file of the operating system would say.
    pub fn as_io_error(self) -> io::Error {
        match self {
            Self::Full => io::ErrorKind::StorageFull.into(),
            Self::Io => io::Error::other("the device failed"),
        }
    }
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Go,
    Fail(Fault),
    /// The power goes in the middle of this operation: part of it may reach the disk.
    PowerFails,
    /// There is no power.
    Dead,
}

#[derive(Debug, Clone, Copy)]
enum Plan {
    Crash { at: u64 },
    Fail { at: u64, fault: Fault, forever: bool },
}

/// Counts the operations that change a disk and lets one of them go wrong.
#[derive(Debug, Default)]
pub struct Faults {
    count: u64,
    plan: Option<Plan>,
    dead: bool,
    hit: bool,
}

impl Faults {
    /// Nothing goes wrong from now on; the count begins at 0.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
    /// The power goes at the n-th operation from now, from 1.
    pub fn crash_at(&mut self, n: u64) {
        *self = Self { plan: Some(Plan::Crash { at: n }), ..Self::default() };
    }
    /// The n-th operation from now fails, from 1; with `forever` all that follow it do too.
    pub fn fail_at(&mut self, n: u64, fault: Fault, forever: bool) {
        *self = Self { plan: Some(Plan::Fail { at: n, fault, forever }), ..Self::default() };
    }
    /// Operations since the plan was made.
    pub fn operations(&self) -> u64 {
        self.count
    }
    /// Did what was planned happen?
    pub fn hit(&self) -> bool {
        self.hit
    }
    /// Is the power out?
    pub fn dead(&self) -> bool {
        self.dead
    }
    /// One more operation.
    pub fn operation(&mut self) -> Verdict {
        if self.dead {
            return Verdict::Dead;
        }
        self.count += 1;
        let verdict = match self.plan {
            Some(Plan::Crash { at }) if self.count >= at => {
                self.dead = true;
                Verdict::PowerFails
            }
            Some(Plan::Fail { at, fault, forever }) if self.count == at || (forever && self.count > at) => {
                Verdict::Fail(fault)
            }
            _ => Verdict::Go,
        };
        self.hit |= verdict != Verdict::Go;
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_or_from_then_on() {
        let mut f = Faults::default();
        let four = |f: &mut Faults| [(); 4].map(|()| f.operation());
        use Verdict::{Dead, Fail, Go, PowerFails};
        f.fail_at(2, Fault::Io, false);
        assert!(!f.hit());
        assert_eq!(four(&mut f), [Go, Fail(Fault::Io), Go, Go]);
        f.fail_at(3, Fault::Full, true);
        assert_eq!(four(&mut f), [Go, Go, Fail(Fault::Full), Fail(Fault::Full)]);
        f.crash_at(3);
        assert_eq!(four(&mut f), [Go, Go, PowerFails, Dead]);
        assert!(f.hit() && f.dead());
        assert_eq!(f.operations(), 3);
        f.clear();
        assert_eq!(four(&mut f), [Go; 4]);
    }
}
