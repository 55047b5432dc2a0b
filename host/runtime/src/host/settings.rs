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
        self.takes(namespace.len() + key.len())?;
        let found = self
            .blocking(move |layer, caller, _| layer.settings().get(caller, &namespace, &key, None))
            .await?;
        let found = match found {
            Ok(setting) => setting.value.map(|v| v.to_string()),
            Err(e) if e.kind() == Kind::NotFound => None,
            Err(e) => return Ok(Err(to_guest(&e))),
        };
        self.gives(found.as_ref().map_or(0, String::len))?;
        Ok(Ok(found))
    }
}
