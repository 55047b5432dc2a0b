//! Gives back more bytes than a call may: in the names of its actions, or as the sentence of an error.

use hostile::{Action, Cursor, DropBefore, Error, Guest, PlanResult, done, key, number};

const BYTES: u64 = 12 << 20;
const NAME_BYTES: u64 = 16 << 10;

struct Replies;

impl Guest for Replies {
    fn plan(_cursor: Cursor, _now: i64) -> Result<PlanResult, Error> {
        let bytes = number("bytes").unwrap_or(BYTES);
        if number("error") == Some(1) {
            return Err(Error::Invalid("e".repeat(bytes as usize)));
        }
        let name = "n".repeat(NAME_BYTES as usize);
        let drop = Action::DropBefore(DropBefore { key: key("market", &name), before: 0 });
        done((0..bytes.div_ceil(NAME_BYTES)).map(|_| drop.clone()).collect())
    }
}

hostile::export!(Replies);
