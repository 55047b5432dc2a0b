//! The example backup target for a folder: each blob is a file of one of the host's own file stores. It is worth something
//! only where that store lies on another disk, or is itself copied elsewhere.

#[cfg(target_family = "wasm")]
mod guest;
pub mod names;
