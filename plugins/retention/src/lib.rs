//! The example retention policy: ticks become one-minute bars and longer ones, one-minute bars become hourly and daily ones,
//! and raw rows go when they are old. Hourly and daily rollups are kept for ever.

pub mod config;
#[cfg(target_family = "wasm")]
mod guest;
mod json;
pub mod policy;
