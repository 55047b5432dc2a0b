//! Named queries that traders ask every day: volume-weighted prices, trades joined to quotes, rolling volatility, bars of
//! trading sessions. Each is a fold over the batches of an answer: its result does not depend on where a batch ends.

mod calendar;
pub mod config;
mod frame;
#[cfg(target_family = "wasm")]
mod guest;
mod local;
mod params;
pub mod queries;
mod quotes;
mod sessions;
#[cfg(test)]
mod testing;
mod volatility;
mod vwap;
