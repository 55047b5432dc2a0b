//! What a benchmark program is asked on its command line, and what it says.

use crate::machine;
use crate::table::Table;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

/// What to run and how much of it.
pub struct Run {
    pub group: Option<String>,
    pub quick: bool,
    /// A file that gets the tables too, behind what it has.
    markdown: Option<PathBuf>,
}

impl Run {
    /// `full`, or `quick` when only a look is wanted.
    pub fn size(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    fn of_arguments() -> Self {
        let mut run = Self { group: None, quick: false, markdown: None };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--quick" => run.quick = true,
                "--markdown" => run.markdown = Some(args.next().expect("--markdown FILE").into()),
                // What cargo adds.
                "--bench" => {}
                group => run.group = Some(group.to_string()),
            }
        }
        run
    }
}

/// Some figures that belong together.
pub type Group = (&'static str, fn(&Run, &mut Table));

/// Runs the groups that the command line asks for, each with a table of its own, and ends with what is lost.
pub fn groups(all: &[Group]) {
    let run = Run::of_arguments();
    let say = |text: &str| {
        println!("{text}");
        if let Some(path) = &run.markdown {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            writeln!(file, "{text}").unwrap();
        }
    };
    let quick = if run.quick { " The quick form: so few rows say little." } else { "" };
    say(&format!("{}{quick}\n", machine::describe()));
    let mut tables = Vec::new();
    for (name, f) in all {
        if run.group.as_ref().is_none_or(|g| name.contains(g.as_str())) {
            let mut table = Table::new(name);
            let begin = Instant::now();
            f(&run, &mut table);
            table.note(format!("This group took {:.0} s.", begin.elapsed().as_secs_f64()));
            say(&table.markdown());
            tables.push(table);
        }
    }
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    assert!(!tables.is_empty(), "no such group; there are {}", names.join(", "));
    let listed = |lines: Vec<String>, none: &str| {
        if lines.is_empty() {
            format!("{none}\n")
        } else {
            lines.iter().map(|l| format!("- {l}\n")).collect()
        }
    };
    let nothing =
        if tables.iter().any(Table::has_peers) { "None." } else { "Unknown: no peer was measured." };
    say(&format!("### Lost\n\n{}", listed(tables.iter().flat_map(Table::lost).collect(), nothing)));
    say(&format!(
        "### Below the target\n\n{}",
        listed(tables.iter().flat_map(Table::missed).collect(), "None.")
    ));
}
