//! `cargo xtask bench [GROUP] [--quick]`: figures beside baselines, taken in one run on one machine.
//!
//! How they are taken: page cache warm, no cache of decoded data, each timed figure the median of several
//! rounds; a ratio above 1 means that Shiphold is faster (or smaller) than the baseline. Losses are printed too.

// A benchmark stops at the first thing that goes wrong: that is the message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod data;
mod http;
mod machine;
mod plugins;
mod series;
mod skills;
mod table;

use table::Table;

/// What to run and how much of it.
pub struct Run {
    pub group: Option<String>,
    pub quick: bool,
}

impl Run {
    /// `full`, or `quick` when only a look is wanted.
    pub fn size(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

fn main() {
    let mut run = Run { group: None, quick: false };
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--quick" => run.quick = true,
            // What cargo adds.
            "--bench" => {}
            group => run.group = Some(group.to_string()),
        }
    }
    machine::describe();
    type Group = (&'static str, fn(&Run, &mut Table));
    let groups: [Group; 4] =
        [("series", series::run), ("http", http::run), ("plugins", plugins::run), ("skills", skills::run)];
    let mut ran = 0;
    for (name, f) in groups {
        if run.group.as_ref().is_none_or(|g| name.contains(g.as_str())) {
            let mut table = Table::new(name);
            f(&run, &mut table);
            table.print();
            ran += 1;
        }
    }
    assert!(ran > 0, "no such group; there are series, http, plugins, skills");
}
