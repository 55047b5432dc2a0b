//! `log`

use crate::bindings::shiphold::host::log::{Host, Level};
use crate::state::State;

impl Host for State {
    async fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        self.takes(message.len())?;
        self.log(&format!("{level}: {message}"));
        Ok(())
    }
}
