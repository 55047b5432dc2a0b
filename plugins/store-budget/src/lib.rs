//! A retention policy for file stores: each has a budget of bytes, and while it is over it, the oldest files go. The newest
//! files of each folder stay, and whatever is young.

#[cfg(target_family = "wasm")]
mod guest;
pub mod policy;
