//! Rows of what was measured, what others did in the same run, the ratios, and which are lost.

/// A ratio below this is a loss; what is printed as `1.00×` is none.
const LOST: f64 = 0.995;

/// What a row stands beside.
enum Beside {
    /// Others, by name.
    Peers(Vec<(String, f64)>),
    /// Shiphold itself under other circumstances: slower is no loss, but may miss a target.
    Itself(String, f64),
}

struct Row {
    what: String,
    unit: String,
    ours: f64,
    /// Rows a second; otherwise less is better.
    more_is_better: bool,
    beside: Beside,
    target: String,
}

impl Row {
    fn ratio(&self, theirs: f64) -> f64 {
        if self.more_is_better { self.ours / theirs } else { theirs / self.ours }
    }

    fn beside(&self) -> Vec<(&str, f64)> {
        match &self.beside {
            Beside::Peers(peers) => peers.iter().map(|(name, value)| (name.as_str(), *value)).collect(),
            Beside::Itself(name, value) => vec![(name, *value)],
        }
    }

    fn lost(&self) -> impl Iterator<Item = String> + '_ {
        let peers = if let Beside::Peers(peers) = &self.beside { peers.as_slice() } else { &[] };
        peers.iter().filter(|(_, value)| self.ratio(*value) < LOST).map(|(name, value)| {
            let (ours, theirs, ratio) = (figure(self.ours), figure(*value), self.ratio(*value));
            format!("{}: {ours} {} of Shiphold, {theirs} of {name}: {ratio:.2}×", self.what, self.unit)
        })
    }

    fn missed(&self) -> Option<String> {
        let (reached, wanted) = match target(&self.target)? {
            (wanted, true) => (self.ratio(self.beside().first()?.1), wanted),
            (wanted, false) if self.more_is_better => (self.ours, wanted),
            (wanted, false) => (wanted, self.ours),
        };
        (reached < LOST * wanted).then(|| {
            let (ours, unit) = (figure(self.ours), &self.unit);
            format!("{}: {ours} {unit}, the target is {}", self.what, self.target)
        })
    }
}

/// The number of a target such as `3 M`, `500,000`, `1.5` or `0.5×`, and whether it is one of the ratio. A target with more words is
/// printed and not judged.
fn target(text: &str) -> Option<(f64, bool)> {
    let (text, of_ratio) = text.strip_suffix('×').map_or((text, false), |t| (t, true));
    let (number, factor) = match text.split_once(' ') {
        None => (text, 1.0),
        Some((number, "k")) => (number, 1e3),
        Some((number, "M")) => (number, 1e6),
        Some(_) => return None,
    };
    Some((number.replace(',', "").parse::<f64>().ok()? * factor, of_ratio))
}

/// The figures of one group.
pub struct Table {
    name: String,
    notes: Vec<String>,
    rows: Vec<Row>,
}

impl Table {
    pub fn new(name: &str) -> Self {
        eprintln!("== {name}");
        Self { name: name.into(), notes: Vec::new(), rows: Vec::new() }
    }

    /// A sentence that stands above the figures: data, batches, durability, versions.
    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        eprintln!("   {text}");
        self.notes.push(text);
    }

    /// More is better: rows a second.
    pub fn rate(&mut self, what: &str, unit: &str, ours: f64, baseline: Option<(&str, f64)>, target: &str) {
        self.beside(what, unit, true, ours, baseline.as_slice(), target);
    }

    /// Less is better: milliseconds, bytes.
    pub fn cost(&mut self, what: &str, unit: &str, ours: f64, baseline: Option<(&str, f64)>, target: &str) {
        self.beside(what, unit, false, ours, baseline.as_slice(), target);
    }

    /// Beside any number of peers.
    pub fn beside(
        &mut self,
        what: &str,
        unit: &str,
        more_is_better: bool,
        ours: f64,
        peers: &[(&str, f64)],
        target: &str,
    ) {
        let peers = peers.iter().map(|(name, value)| ((*name).to_string(), *value)).collect();
        self.add(what, unit, more_is_better, ours, Beside::Peers(peers), target);
    }

    /// A cost beside what Shiphold itself takes under other circumstances.
    pub fn cost_beside_itself(
        &mut self,
        what: &str,
        unit: &str,
        ours: f64,
        other: (&str, f64),
        target: &str,
    ) {
        self.add(what, unit, false, ours, Beside::Itself(other.0.into(), other.1), target);
    }

    fn add(&mut self, what: &str, unit: &str, more_is_better: bool, ours: f64, beside: Beside, target: &str) {
        eprintln!("   {what}: {} {unit}", figure(ours));
        let (what, unit, target) = (what.into(), unit.into(), target.into());
        self.rows.push(Row { what, unit, ours, more_is_better, beside, target });
    }

    /// What peers did better, a line each.
    pub fn lost(&self) -> Vec<String> {
        let of = |line: String| format!("`{}`: {line}", self.name);
        self.rows.iter().flat_map(Row::lost).map(of).collect()
    }

    /// Targets that were not reached, a line each.
    pub fn missed(&self) -> Vec<String> {
        self.rows.iter().filter_map(Row::missed).map(|line| format!("`{}`: {line}", self.name)).collect()
    }

    pub fn has_peers(&self) -> bool {
        self.rows.iter().any(|r| matches!(&r.beside, Beside::Peers(p) if !p.is_empty()))
    }

    /// A headline, the notes and the table, with a column for each peer where there are several. A peer's cell has its figure and the
    /// ratio, in bold where Shiphold loses.
    pub fn markdown(&self) -> String {
        let mut peers: Vec<&str> = Vec::new();
        for (name, _) in self.rows.iter().flat_map(Row::beside) {
            if !peers.contains(&name) {
                peers.push(name);
            }
        }
        // Rows beside one peer each name it in their cell: a column each would be empty but for a cell.
        let of_each = self.rows.iter().any(|r| r.beside().len() > 1);
        let columns: Vec<&str> = if of_each { peers } else { vec!["baseline"] };
        let with_targets = self.rows.iter().any(|r| !r.target.is_empty());
        let mut head = vec![self.name.clone(), "Shiphold".into()];
        head.extend(columns.iter().map(|c| (*c).to_string()));
        head.extend(with_targets.then(|| "target".to_string()));
        let mut lines = vec![head];
        for row in &self.rows {
            let mut cells = vec![row.what.clone(), format!("{} {}", figure(row.ours), row.unit)];
            for column in &columns {
                let found = row.beside().into_iter().find(|(name, _)| !of_each || name == column);
                cells.push(found.map_or_else(String::new, |(name, value)| {
                    let name = if of_each { String::new() } else { format!(" {}, {name}", row.unit) };
                    let cell = format!("{}{name} ({:.2}×)", figure(value), row.ratio(value));
                    let lost = matches!(row.beside, Beside::Peers(_)) && row.ratio(value) < LOST;
                    if lost { format!("**{cell}**") } else { cell }
                }));
            }
            cells.extend(with_targets.then(|| row.target.clone()));
            lines.push(cells);
        }
        let notes: String = self.notes.iter().map(|n| format!("{n}\n\n")).collect();
        format!("### {}\n\n{notes}{}", self.name, aligned(&lines))
    }
}

/// A table whose columns are as wide as their widest cell.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |i: usize| lines.iter().map(|l| l[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for (i, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}", w = *w)).collect();
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
        if i == 0 {
            let rule: Vec<String> = widths.iter().map(|w| "-".repeat(w + 2)).collect();
            out.push_str(&format!("|{}|\n", rule.join("|")));
        }
    }
    out
}

fn figure(v: f64) -> String {
    match v.abs() {
        x if x >= 1e6 => format!("{:.2} M", v / 1e6),
        x if x >= 1e4 => format!("{:.0} k", v / 1e3),
        x if x >= 100.0 => format!("{v:.0}"),
        x if x >= 1.0 => format!("{v:.2}"),
        _ => format!("{v:.4}"),
    }
}
