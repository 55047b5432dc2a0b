//! `clock`

use crate::bindings::shiphold::host::clock::Host;
use crate::state::State;
use shiphold_storage::schema::now_ns;

impl Host for State {
    async fn now(&mut self) -> wasmtime::Result<i64> {
        Ok(now_ns())
    }
}
