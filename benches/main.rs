//! `cargo xtask bench [GROUP] [--quick]`: figures beside baselines, taken in one run on one machine.
//!
//! How they are taken: page cache warm, no cache of decoded data, each timed figure the median of several
//! rounds; a ratio above 1 means that Shiphold is faster (or smaller) than the baseline. Losses are printed too.

// A benchmark stops at the first thing that goes wrong: that is the message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

// `data` and `machine` are shared with the other program, and each uses a part of them.
#[allow(dead_code)]
mod data;
mod http;
#[allow(dead_code)]
mod machine;
mod plugins;
mod run;
mod skills;
mod table;

use run::Run;
use table::Table;

fn main() {
    run::groups(&[("http", http::run), ("plugins", plugins::run), ("skills", skills::run)]);
}
