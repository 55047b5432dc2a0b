//! `clock` and `random`

use crate::bindings::shiphold::host::types::Error as Guest;
use crate::bindings::shiphold::host::{clock, random};
use crate::state::{State, to_guest};
use shiphold_storage::{Error, Kind, schema::now_ns};

/// Random bytes of one call.
const RANDOM_BYTES_MAX: u32 = 64 << 10;

impl clock::Host for State {
    async fn now(&mut self) -> wasmtime::Result<i64> {
        Ok(now_ns())
    }
}

impl random::Host for State {
    async fn bytes(&mut self, count: u32) -> wasmtime::Result<Result<Vec<u8>, Guest>> {
        if count > RANDOM_BYTES_MAX {
            return Ok(Err(to_guest(&Error::limit(
                format!("{count} random bytes"),
                RANDOM_BYTES_MAX,
                "ask for fewer at once",
            ))));
        }
        let mut out = vec![0; count as usize];
        Ok(getrandom::fill(&mut out)
            .map(|()| out)
            .map_err(|e| to_guest(&Error::new(Kind::Io, format!("no random bytes: {e}")))))
    }
}
