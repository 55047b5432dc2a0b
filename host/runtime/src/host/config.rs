//! `config`

use crate::bindings::shiphold::host::config::Host;
use crate::state::State;

impl Host for State {
    async fn get(&mut self) -> wasmtime::Result<String> {
        Ok(self.config.to_string())
    }
}
