//! The host's side of each WIT interface, a file each.

mod clock;
mod commits;
mod config;
pub(crate) mod convert;
pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod http;
mod log;
mod logs;
mod metrics;
mod random;
pub(crate) mod retention;
pub(crate) mod secrets;
pub(crate) mod series;
mod settings;
pub(crate) mod skills;
mod state;
mod trades;
mod units;
pub(crate) mod wasi;

use crate::bindings::shiphold::host as wit;
use crate::state::State;
use shiphold_storage::Grants;
use wasmtime::component::{HasSelf, Linker};

/// Links what a plugin's effective grants allow, and nothing else.
pub(crate) fn link(linker: &mut Linker<State>, grants: &Grants) -> wasmtime::Result<()> {
    type Own = HasSelf<State>;
    wit::types::add_to_linker::<_, Own>(linker, |s| s)?;
    wit::config::add_to_linker::<_, Own>(linker, |s| s)?;
    wit::log::add_to_linker::<_, Own>(linker, |s| s)?;
    wit::metrics::add_to_linker::<_, Own>(linker, |s| s)?;
    wit::retention_types::add_to_linker::<_, Own>(linker, |s| s)?;
    wit::state_types::add_to_linker::<_, Own>(linker, |s| s)?;
    if grants.clock {
        wit::clock::add_to_linker::<_, Own>(linker, |s| s)?;
    }
    if grants.random {
        wit::random::add_to_linker::<_, Own>(linker, |s| s)?;
    }
    if !grants.series_read.is_empty() || !grants.series_write.is_empty() {
        wit::series::add_to_linker::<_, Own>(linker, |s| s)?;
    }
    if grants.skills_read {
        wit::skills::add_to_linker::<_, Own>(linker, |s| s)?;
    }
    if !grants.files_read.is_empty() || !grants.files_write.is_empty() || !grants.files_delete.is_empty() {
        wit::files::add_to_linker::<_, Own>(linker, |s| s)?;
    }
    if !grants.http.is_empty() {
        wit::http::add_to_linker::<_, Own>(linker, |s| s)?;
    }
    if !grants.secrets.is_empty() {
        wit::secrets::add_to_linker::<_, Own>(linker, |s| s)?;
    }
    if !grants.settings_read.is_empty() {
        wit::settings::add_to_linker::<_, Own>(linker, |s| s)?;
    }
    if !grants.state_read.is_empty() || !grants.state_write.is_empty() {
        wit::state::add_to_linker::<_, Own>(linker, |s| s)?;
    }
    if !grants.logs_read.is_empty() {
        wit::logs::add_to_linker::<_, Own>(linker, |s| s)?;
    }
    if grants.trades() {
        wit::trades::add_to_linker::<_, Own>(linker, |s| s)?;
    }
    if grants.commits {
        wit::commits::add_to_linker::<_, Own>(linker, |s| s)?;
    }
    if grants.wasi {
        wasi::link(linker)?;
    }
    Ok(())
}

impl wit::types::Host for State {}
