//! The bindings that the hostile components share. Each of them is an example target of this crate, because a file is then
//! all that one needs: `NAME.rs`, and `NAME.toml` for what it asks for.

wit_bindgen::generate!({
    world: "retention-policy-plugin",
    path: "../../wit",
    pub_export_macro: true,
    default_bindings_module: "hostile",
});

pub use exports::shiphold::host::retention_policy::Guest;
pub use shiphold::host::retention_types::{
    Action, Archive, Cursor, Downsample, DropBefore, DropFile, PlanResult, SeriesSummary, Summary,
};
pub use shiphold::host::types::{Column, Error, Frame, SeriesKey, TimeRange, Values};
pub use shiphold::host::{clock, commits, config, log, metrics, random, series, state};

/// A series without tags.
pub fn key(bucket: &str, measurement: &str) -> SeriesKey {
    SeriesKey { bucket: bucket.into(), measurement: measurement.into(), tags: Vec::new() }
}

/// Every series that the cursor gives.
pub fn all(cursor: &Cursor) -> Vec<SeriesSummary> {
    let mut out = Vec::new();
    loop {
        let page = cursor.next(1_000);
        if page.is_empty() {
            return out;
        }
        out.extend(page.into_iter().filter_map(|s| match s {
            Summary::Series(s) => Some(s),
            Summary::File(_) => None,
        }));
    }
}

/// A plan that is complete.
pub fn done(actions: Vec<Action>) -> Result<PlanResult, Error> {
    Ok(PlanResult { actions, more: false })
}

/// A whole number of the configuration, read without a parser: these components stay tiny.
pub fn number(name: &str) -> Option<u64> {
    let json = config::get();
    let (_, rest) = json.split_once(&format!("\"{name}\":"))?;
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
