//! The stores of Shiphold — SQLite for what is structured, a series engine, file stores — and the one data
//! layer over them. Knows no wasmtime, no HTTP server and no CLI.

pub mod audit;
pub mod backup;
pub mod caller;
pub mod changes;
pub mod commits;
pub mod disk;
pub mod error;
pub mod files;
pub mod hex;
pub mod http_grant;
pub mod json_schema;
pub mod layer;
mod locks;
pub mod logs;
pub mod manifest;
pub mod migrate;
mod nameless;
mod names;
pub mod plugins;
pub mod retention;
pub mod rollups;
pub mod schema;
pub mod series;
pub mod settings;
pub mod skills;
pub mod sql;
pub mod sqlite;
pub mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tokens;
pub mod trades;
pub mod units;

pub use caller::{Caller, Grants, Scope};
pub use error::{Error, Kind, Result};
pub use layer::DataLayer;
pub use manifest::Manifest;
