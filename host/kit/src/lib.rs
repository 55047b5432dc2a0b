//! The development kit of Shiphold's plugins: writes projects, turns them into components, and reads the fixtures that say
//! what a plugin must answer. It runs no component and opens no store: that is the program's work.

pub mod fixture;
pub mod javascript;
pub mod new;
pub mod project;
pub mod python;
pub mod rust;
pub mod section;
pub mod tool;
pub mod wit;
mod world;

pub use project::{Language, Project, World};

use std::path::PathBuf;

/// Programs and packages that the builders start. What is not named is looked for where its installer puts it.
#[derive(Debug, Clone, Default)]
pub struct Tools {
    /// A Python whose environment has `componentize-py`.
    pub python: Option<PathBuf>,
    /// Node, 20 or newer.
    pub node: Option<PathBuf>,
    /// A `node_modules` folder with `@bytecodealliance/componentize-js`.
    pub node_modules: Option<PathBuf>,
}
