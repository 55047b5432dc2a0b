//! `settings`

use super::error::{Guest, to_guest};
use crate::bindings::shiphold::host::settings::Host;
use crate::state::State;
use shiphold_storage::Kind;

impl Host for State {
    async fn get(
        &mut self,
        namespace: String,
        key: String,
    ) -> wasmtime::Result<Result<Option<String>, Guest>> {
        let found =
            self.blocking(move |layer, caller, _| layer.settings().get(caller, &namespace, &key)).await?;
        Ok(match found {
            Ok(setting) => Ok(setting.value.map(|v| v.to_string())),
            Err(e) if e.kind() == Kind::NotFound => Ok(None),
            Err(e) => Err(to_guest(&e)),
        })
    }
}
