//! Which files go. A pure function of what the host says is there: what was done shows in the next summaries.

use serde::Deserialize;
use std::collections::BTreeMap;

const DAY_NS: i64 = 86_400_000_000_000;
const MIB: u64 = 1 << 20;
/// Files that one plan drops: the host executes it and asks again.
pub const DROPS_MAX: usize = 1_000;

/// `[plugins.NAME.config]`. The host has checked it against the schema in `plugin.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub stores: Vec<Budget>,
}

/// What one store may hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub store: String,
    pub budget_mib: u64,
    #[serde(default = "keep_newest")]
    pub keep_newest: usize,
    #[serde(default = "min_age_days")]
    pub min_age_days: i64,
}

fn keep_newest() -> usize {
    3
}

fn min_age_days() -> i64 {
    1
}

impl Config {
    /// From its JSON, or the sentence that the operator reads.
    pub fn parse(json: &str) -> Result<Self, String> {
        let config: Self =
            serde_json::from_str(json).map_err(|e| format!("the configuration cannot be read: {e}"))?;
        for (i, b) in config.stores.iter().enumerate() {
            if b.budget_mib == 0 {
                return Err(format!("`{}`: budget_mib = 0 would drop whatever may be dropped", b.store));
            }
            if b.min_age_days < 1 {
                return Err(format!("`{}`: min_age_days is at least 1", b.store));
            }
            if config.stores.iter().take(i).any(|earlier| earlier.store == b.store) {
                return Err(format!("`{}` has two budgets", b.store));
            }
        }
        Ok(config)
    }
}

/// A file with all of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub path: String,
    pub created_at: i64,
    pub bytes: u64,
}

/// What becomes of one store.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Paths, oldest first.
    pub drops: Vec<String>,
    /// There are more than [`DROPS_MAX`] to drop.
    pub more: bool,
    /// Bytes now, and bytes over the budget that only protected files hold.
    pub bytes: u64,
    pub stuck: u64,
}

/// The oldest files go until the rest fits.
pub fn judge(budget: &Budget, now: i64, mut files: Vec<File>) -> Verdict {
    let mut verdict = Verdict { bytes: files.iter().map(|f| f.bytes).sum(), ..Verdict::default() };
    let most = budget.budget_mib.saturating_mul(MIB);
    let young = now.saturating_sub(budget.min_age_days.saturating_mul(DAY_NS));
    // Newest first: the first of each folder are kept. Names break ties, so that a plan is the same each time.
    files.sort_by(|a, b| (b.created_at, &b.path).cmp(&(a.created_at, &a.path)));
    let mut of_folder: BTreeMap<String, usize> = BTreeMap::new();
    let mut free: Vec<File> = Vec::new();
    for file in files {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder).to_string();
        let seen = of_folder.entry(folder).or_default();
        *seen += 1;
        if *seen > budget.keep_newest && file.created_at <= young {
            free.push(file);
        }
    }
    let mut left = verdict.bytes;
    for file in free.into_iter().rev() {
        if left <= most {
            break;
        }
        if verdict.drops.len() == DROPS_MAX {
            verdict.more = true;
            return verdict;
        }
        left = left.saturating_sub(file.bytes);
        verdict.drops.push(file.path);
    }
    verdict.stuck = left.saturating_sub(most);
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000 * DAY_NS;

    fn budget(mib: u64, keep_newest: usize) -> Budget {
        Budget { store: "logs".into(), budget_mib: mib, keep_newest, min_age_days: 1 }
    }

    fn file(path: &str, days_old: i64, mib: u64) -> File {
        File { path: path.into(), created_at: NOW - days_old * DAY_NS, bytes: mib * MIB }
    }

    #[test]
    fn the_oldest_go_until_the_rest_fits() {
        let files = vec![file("a", 4, 1), file("b", 9, 1), file("c", 7, 1), file("d", 8, 1)];
        let at = |mib| judge(&budget(mib, 0), NOW, files.clone());
        assert_eq!(at(4), Verdict { bytes: 4 * MIB, ..Verdict::default() }, "at its budget");
        assert_eq!(at(3).drops, ["b"]);
        assert_eq!(at(2).drops, ["b", "d"]);
        assert_eq!(at(1).drops, ["b", "d", "c"]);
        let mut one_byte_over = files.clone();
        one_byte_over[0].bytes += 1;
        assert_eq!(judge(&budget(4, 0), NOW, one_byte_over).drops, ["b"]);
    }

    #[test]
    fn the_newest_of_each_folder_and_the_young_stay() {
        let files = vec![
            file("x/1", 9, 5),
            file("x/2", 8, 5),
            file("x/3", 7, 5),
            file("y/1", 30, 5),
            file("top", 40, 5),
            file("x/4", 0, 5),
        ];
        let verdict = judge(&budget(1, 1), NOW, files.clone());
        assert_eq!(verdict.drops, ["x/1", "x/2", "x/3"], "one of x, of y and of the top stays");
        assert_eq!(verdict.stuck, 14 * MIB);
        let verdict = judge(&budget(1, 0), NOW, files);
        assert_eq!(verdict.drops, ["top", "y/1", "x/1", "x/2", "x/3"]);
        assert_eq!(verdict.stuck, 4 * MIB, "what is younger than a day stays");
        let edge = |ns| {
            let file = File { path: "a".into(), created_at: NOW - DAY_NS + ns, bytes: 2 * MIB };
            judge(&budget(1, 0), NOW, vec![file]).drops.len()
        };
        assert_eq!((edge(0), edge(1)), (1, 0));
    }

    #[test]
    fn a_plan_has_a_bound_and_the_rest_comes_next() {
        let files: Vec<File> = (0..=DROPS_MAX).map(|i| file(&format!("{i:05}"), 10, 1)).collect();
        let verdict = judge(&budget(1, 0), NOW, files.clone());
        assert_eq!((verdict.drops.len(), verdict.more), (DROPS_MAX, false), "all but the one that fits");
        let mut files = files;
        files.push(file("x", 10, 1));
        let verdict = judge(&budget(1, 0), NOW, files);
        assert_eq!((verdict.drops.len(), verdict.more), (DROPS_MAX, true));
    }

    #[test]
    fn the_configuration() {
        let config = Config::parse(r#"{"stores":[{"store":"logs","budget_mib":5}]}"#).unwrap();
        assert_eq!(config.stores, [Budget { keep_newest: 3, ..budget(5, 3) }]);
        for (json, word) in [
            ("{}", "stores"),
            (r#"{"stores":[{"store":"a","budget_mib":0}]}"#, "budget_mib = 0"),
            (r#"{"stores":[{"store":"a","budget_mib":1,"min_age_days":0}]}"#, "min_age_days"),
            (r#"{"stores":[{"store":"a","budget_mib":1,"x":0}]}"#, "unknown field `x`"),
            (r#"{"stores":[{"store":"a","budget_mib":1},{"store":"a","budget_mib":2}]}"#, "two budgets"),
        ] {
            assert!(Config::parse(json).unwrap_err().contains(word), "{json}");
        }
    }
}
