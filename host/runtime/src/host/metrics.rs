//! `metrics`

use super::error::{Guest, to_guest};
use crate::bindings::shiphold::host::metrics::Host;
use crate::state::{GAUGES_MAX, State};
use shiphold_storage::Error;
use std::sync::PoisonError;

const NAME_BYTES_MAX: usize = 64;

impl Host for State {
    async fn gauge(&mut self, name: String, value: f64) -> wasmtime::Result<Result<(), Guest>> {
        let named = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !named || !value.is_finite() {
            return Ok(Err(to_guest(&Error::invalid(format!(
                "a gauge has a finite value and a name of 1 to {NAME_BYTES_MAX} of a-z, 0-9 and _"
            )))));
        }
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        if gauges.len() >= GAUGES_MAX && !gauges.contains_key(&name) {
            return Ok(Err(to_guest(&Error::limit(
                "the number of gauges of a plugin",
                GAUGES_MAX,
                "use fewer names",
            ))));
        }
        gauges.insert(name, value);
        Ok(Ok(()))
    }
}
