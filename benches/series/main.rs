//! `cargo xtask bench series|data-files [--quick]`: the series engine in process beside its peers, and file stores. A program of its own, so
//! that it builds without wasmtime.
//!
//! How figures are taken: see `benches/main.rs`.

// A benchmark stops at the first thing that goes wrong: that is the message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod answer;
// `data` and `machine` are shared with the other program, and each uses a part of them.
#[allow(dead_code)]
#[path = "../data.rs"]
mod data;
mod engine;
mod files;
mod growth;
#[allow(dead_code)]
#[path = "../machine.rs"]
mod machine;
mod ours;
mod peers;
mod rest;
#[path = "../run.rs"]
mod run;
mod scale;
mod shapes;
mod sqlite;
#[path = "../table.rs"]
mod table;

use run::Run;
use table::Table;

fn main() {
    if rest::opened_for_another() {
        return;
    }
    run::groups(&[
        ("series", engine::run),
        ("series-scale", scale::run),
        ("series-rest", rest::run),
        ("series-peers", peers::run),
        ("series-growth", growth::run),
        ("data-files", files::run),
    ]);
}
