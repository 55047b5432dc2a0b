//! `config`

use crate::bindings::shiphold::host::config::Host;
use crate::state::State;

impl Host for State {
    async fn get(&mut self) -> wasmtime::Result<String> {
        self.gives(self.config.len())?;
        Ok(self.config.to_string())
    }
}
