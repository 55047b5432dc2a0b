//! `cargo xtask bench [GROUP] [--quick] [--markdown FILE]`: figures beside baselines, taken in one run on one machine.
//!
//! How they are taken: page cache warm, no cache of decoded data, each timed figure the median of several
//! rounds; a ratio above 1 means that Shiphold is faster (or smaller) than the baseline. Losses are printed too.

// A benchmark stops at the first thing that goes wrong: that is the message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

// These are shared with the other program, and each uses a part of them.
#[allow(dead_code)]
#[path = "series/answer.rs"]
mod answer;
#[allow(dead_code)]
mod data;
mod frames;
mod host;
mod http;
mod layer;
#[allow(dead_code)]
mod machine;
mod plugins;
mod run;
mod skills;
#[allow(dead_code)]
mod table;

use run::Run;
use table::Table;

fn main() {
    run::groups(&[
        ("http", http::run),
        ("series-http", frames::run),
        ("plugins", plugins::run),
        ("skills", skills::run),
        ("data", layer::run),
        ("data-trades", layer::trades::run),
    ]);
}
