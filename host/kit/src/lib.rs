//! The development kit: a project folder in, a component out.

pub mod javascript;
pub mod python;

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
