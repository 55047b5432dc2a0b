//! Rows of what was measured, what the baseline did in the same run, and the ratio.

pub struct Table {
    name: String,
    rows: Vec<[String; 5]>,
}

impl Table {
    pub fn new(name: &str) -> Self {
        eprintln!("== {name}");
        Self { name: name.into(), rows: Vec::new() }
    }

    /// More is better: rows a second.
    pub fn rate(&mut self, what: &str, unit: &str, ours: f64, baseline: Option<(&str, f64)>, target: &str) {
        self.add(what, unit, ours, baseline.map(|(n, b)| (n, b, ours / b)), target);
    }

    /// Less is better: milliseconds, bytes.
    pub fn cost(&mut self, what: &str, unit: &str, ours: f64, baseline: Option<(&str, f64)>, target: &str) {
        self.add(what, unit, ours, baseline.map(|(n, b)| (n, b, b / ours)), target);
    }

    fn add(&mut self, what: &str, unit: &str, ours: f64, baseline: Option<(&str, f64, f64)>, target: &str) {
        let (base, ratio) = match baseline {
            Some((name, value, ratio)) => {
                (format!("{} {unit} ({name})", figure(value)), format!("{ratio:.2}×"))
            }
            None => (String::new(), String::new()),
        };
        let row = [what.to_string(), format!("{} {unit}", figure(ours)), base, ratio, target.to_string()];
        eprintln!("   {}: {}", row[0], row[1]);
        self.rows.push(row);
    }

    pub fn print(&self) {
        let head = [self.name.as_str(), "Shiphold", "baseline", "ratio", "target"].map(str::to_string);
        let width =
            |i: usize| self.rows.iter().chain([&head]).map(|r| r[i].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..5).map(width).collect();
        let line = |r: &[String; 5]| {
            let cells: Vec<String> = r.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}", w = *w)).collect();
            println!("| {} |", cells.join(" | "));
        };
        println!();
        line(&head);
        println!("|{}|", widths.iter().map(|w| "-".repeat(w + 2)).collect::<Vec<_>>().join("|"));
        self.rows.iter().for_each(line);
        println!();
    }
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
