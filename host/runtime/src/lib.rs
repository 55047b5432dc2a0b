//! The plugin host of Shiphold: loads WebAssembly components, gives them what was granted and no more, ends what
//! exceeds a limit, and executes what a plugin proposes only after the data layer has checked it.

mod bindings;
mod call;
mod check;
pub mod compile;
mod component;
mod descriptor;
mod engine;
mod events;
mod host;
mod indexer;
mod inspect;
mod limits;
mod lines;
#[doc(hidden)]
pub mod measure;
mod plugins;
mod queries;
mod room;
mod run;
mod schedule;
mod signature;
mod state;
mod targets;
#[cfg(test)]
mod tests;
mod text;

pub use check::check;
pub use component::{Loaded, load};
pub use engine::Engines;
pub use inspect::{Inspection, inspect};
pub use plugins::{
    GrantLine, GrantsReport, LogLine, PluginCounts, PluginDetail, PluginMetric, PluginStatus, Plugins,
    ReloadReport, ReloadedPlugin,
};
pub use queries::{Batches, NamedQuery, Param, ParamType};
pub use run::{RunOptions, RunReport};
