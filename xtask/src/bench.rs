//! Benchmarks in release, beside what is there of the peers, and their tables in a file of Markdown.

use crate::{guests, guests_folder, peers, steps, target};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// A benchmark program: its package, its name, its groups.
struct Program {
    package: &'static str,
    name: &'static str,
    groups: &'static [&'static str],
}

const PROGRAMS: [Program; 2] = [
    Program {
        package: "shiphold-storage",
        name: "series",
        groups: &["series", "series-scale", "series-rest", "series-peers", "series-growth", "data-files"],
    },
    Program {
        package: "shiphold",
        name: "shiphold",
        groups: &["http", "series-http", "plugins", "skills", "data", "data-trades"],
    },
];

/// These measure with the example plugins.
const WITH_GUESTS: [&str; 2] = ["http", "plugins"];
/// These measure stores or clients of Python.
const WITH_PYTHON: [&str; 2] = ["series-peers", "series-http"];

/// What stands between these lines of a file is replaced by the tables.
const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

pub struct Options {
    pub group: Option<String>,
    pub quick: bool,
    pub markdown: Option<PathBuf>,
}

pub fn run(root: &Path, options: &Options) -> Result<()> {
    let group = options.group.as_deref();
    if !PROGRAMS.iter().any(|p| !p.asked(group).is_empty()) {
        let names: Vec<&str> = PROGRAMS.iter().flat_map(|p| p.groups.iter().copied()).collect();
        bail!("no such group; there are {}", names.join(", "));
    }
    if let Some(file) = &options.markdown {
        // Not after half an hour of measuring.
        placed(file, "")?;
    }
    // The programs run in the folders of their packages.
    let tables = std::path::absolute(target(root))?.join("benchmarks.md");
    let _ = std::fs::remove_file(&tables);
    for program in PROGRAMS.iter().filter(|p| !p.asked(group).is_empty()) {
        measure(root, program, options, &tables)?;
    }
    if let Some(file) = &options.markdown {
        let text =
            std::fs::read_to_string(&tables).with_context(|| format!("reading {}", tables.display()))?;
        std::fs::write(file, placed(file, &text)?).with_context(|| format!("writing {}", file.display()))?;
        steps::say(&format!("the tables are in {}", file.display()));
    }
    Ok(())
}

impl Program {
    /// The groups whose name contains what is asked for.
    fn asked(&self, group: Option<&str>) -> Vec<&'static str> {
        self.groups.iter().copied().filter(|name| group.is_none_or(|g| name.contains(g))).collect()
    }
}

fn measure(root: &Path, program: &Program, options: &Options, tables: &Path) -> Result<()> {
    let groups = program.asked(options.group.as_deref());
    let one_of = |those: &[&str]| groups.iter().any(|g| those.contains(g));
    let mut command = steps::cargo(root);
    command.args(["bench", "--quiet", "--package", program.package, "--bench", program.name, "--"]);
    command.args(&options.group);
    if options.quick {
        command.arg("--quick");
    }
    command.arg("--markdown").arg(tables);
    if one_of(&WITH_GUESTS) {
        guests::build_guests(root)?;
        command.env("SHIPHOLD_GUESTS", guests_folder(root));
    }
    if let Some(influxd) = peers::influxd() {
        command.env("SHIPHOLD_INFLUXD", influxd);
    }
    if one_of(&WITH_PYTHON) {
        // Without it there are fewer columns, and the rest is measured all the same.
        match peers::bench_python(root) {
            Ok(python) => command.env("SHIPHOLD_BENCH_PYTHON", python),
            Err(e) => command.env("SHIPHOLD_BENCH_PYTHON_MISSING", format!("{e:#}")),
        };
    }
    steps::say(&format!("benchmarks of {}, in release", groups.join(", ")));
    steps::must(&mut command)
}

/// A file with the tables in it: between its marks; alone, if there is no file yet. One without marks is somebody's text.
fn placed(file: &Path, tables: &str) -> Result<String> {
    let old = match std::fs::read_to_string(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(tables.to_string()),
        old => old.with_context(|| format!("reading {}", file.display()))?,
    };
    let parts = old.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        bail!("{} has no line `{BEGIN}` with a line `{END}` behind it: name a new file", file.display());
    };
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", tables.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_take_the_place_of_older_ones_and_of_nothing_else() {
        let dir = std::env::temp_dir().join(format!("shiphold-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("page.md");
        assert_eq!(placed(&file, "| new |\n").unwrap(), "| new |\n");
        std::fs::write(&file, format!("# Page\n{BEGIN}\n| old |\n{END}\nthe end\n")).unwrap();
        let once = placed(&file, "| new |\n").unwrap();
        assert_eq!(once, format!("# Page\n{BEGIN}\n\n| new |\n\n{END}\nthe end\n"));
        std::fs::write(&file, &once).unwrap();
        assert_eq!(placed(&file, "| new |\n").unwrap(), once);
        for text in ["somebody's text", BEGIN, &format!("{END}{BEGIN}")] {
            std::fs::write(&file, text).unwrap();
            let refused = placed(&file, "| new |\n").unwrap_err().to_string();
            assert!(refused.contains("name a new file"), "{refused}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_part_of_a_name_asks_for_all_groups_that_have_it() {
        let asked = |group| PROGRAMS.iter().flat_map(|p| p.asked(group)).collect::<Vec<_>>();
        assert_eq!(
            asked(Some("series")),
            ["series", "series-scale", "series-rest", "series-peers", "series-growth", "series-http"]
        );
        assert_eq!(asked(Some("http")), ["http", "series-http"]);
        assert_eq!(asked(Some("nothing")), [""; 0]);
        assert_eq!(asked(Some("data")), ["data-files", "data", "data-trades"]);
        assert_eq!(asked(None).len(), 12);
    }
}
