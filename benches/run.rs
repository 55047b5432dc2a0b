//! What a benchmark program is asked on its command line.

use crate::machine;
use crate::table::Table;

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

/// Some figures that belong together.
pub type Group = (&'static str, fn(&Run, &mut Table));

/// Runs the groups that the command line asks for, each with a table of its own.
pub fn groups(all: &[Group]) {
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
    let mut ran = 0;
    for (name, f) in all {
        if run.group.as_ref().is_none_or(|g| name.contains(g.as_str())) {
            let mut table = Table::new(name);
            f(&run, &mut table);
            table.print();
            ran += 1;
        }
    }
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    assert!(ran > 0, "no such group; there are {}", names.join(", "));
}
