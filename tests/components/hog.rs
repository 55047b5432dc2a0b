//! Takes memory without end, and touches it.

use hostile::{Cursor, Error, Guest, PlanResult};

const MIB: usize = 1 << 20;

struct Hog;

impl Guest for Hog {
    fn plan(_cursor: Cursor, _now: i64) -> Result<PlanResult, Error> {
        let mut held = Vec::new();
        loop {
            held.push(std::hint::black_box(vec![0x5a_u8; MIB]));
        }
    }
}

hostile::export!(Hog);
