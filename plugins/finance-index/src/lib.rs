//! The example skill indexer: finds trading skills by what they mean. A vocabulary of finance concepts turns a skill and
//! a question into the same few names and into directions of one space, so that `buy dips` finds `ema-retracement`.
//!
//! The vocabulary is in `vocabulary/*.txt`, one entry per concept, and made to be extended.

pub mod config;
#[cfg(target_family = "wasm")]
mod guest;
pub mod index;
pub mod phrase;
#[cfg(test)]
mod read;
#[cfg(test)]
mod tests;
pub mod vocabulary;
pub mod words;
