//! The names under which a series can be asked for. A line `bar,symbol=AAPL,timeframe=1m` is stored as `bar.1m.AAPL`; who
//! wrote it asks for `bar` with its tags, and finds it so. The stored name serves too where a filter names it.

use crate::series::SeriesKey;
use crate::series::kinds::{self, Kind};
use std::collections::BTreeSet;

/// A series as an answer shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Face {
    pub(super) measurement: String,
    /// Sorted by key.
    pub(super) tags: Vec<(String, String)>,
}

impl Face {
    /// As it is stored.
    fn stored(key: &SeriesKey) -> Self {
        Self { measurement: key.measurement.clone(), tags: key.tags.clone() }
    }

    /// As a line of it is written; `None`: as it is stored.
    fn written(key: &SeriesKey) -> Option<Self> {
        let (_, rest) = key.measurement.split_once('.')?;
        let (measurement, named): (&str, Vec<(&str, &str)>) = match Kind::of(&key.measurement) {
            Kind::Bar => {
                let timeframe = kinds::timeframe_of(&key.measurement)?;
                ("bar", vec![("symbol", kinds::symbol_of(&key.measurement)?), ("timeframe", timeframe)])
            }
            Kind::Tick => ("tick", vec![("symbol", rest)]),
            Kind::Book => ("book", vec![("symbol", rest)]),
            Kind::Signal => ("signal", vec![("strategy", rest)]),
            Kind::Metric => ("metric", vec![("component", rest)]),
            Kind::Other => return None,
        };
        // Written otherwise than as a line: it has such a tag of its own.
        if named.iter().any(|(tag, _)| key.tag(tag).is_some()) {
            return None;
        }
        let mut tags = key.tags.clone();
        tags.extend(named.into_iter().map(|(tag, value)| (tag.to_string(), value.to_string())));
        tags.sort();
        Some(Self { measurement: measurement.into(), tags })
    }

    pub(super) fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The names of a series in the order in which they are tried: the written one, then what `asks_for` says that the
    /// query names itself.
    pub(super) fn all(key: &SeriesKey, asks_for: &dyn Fn(&str) -> bool) -> Vec<Self> {
        let stored = Self::stored(key);
        let Some(written) = Self::written(key) else { return vec![stored] };
        let mut faces = Vec::with_capacity(3);
        // Both words of a line lead to the same series.
        if written.measurement == "metric" && asks_for("metrics") {
            faces.push(Self { measurement: "metrics".into(), ..written.clone() });
        }
        faces.push(written);
        if asks_for(&stored.measurement) {
            faces.push(stored);
        }
        faces
    }
}

/// What to delete when a client names a measurement and tags as it writes them: each stored measurement that is meant, with the
/// tags that it keeps. `None` as the measurement is every one.
pub fn stored(
    series: &[SeriesKey],
    measurement: Option<&str>,
    tags: &[(String, String)],
) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = BTreeSet::new();
    for key in series {
        let asks_for = |name: &str| measurement == Some(name);
        let meant = |face: &Face| {
            measurement.is_none_or(|m| m == face.measurement)
                && tags.iter().all(|(tag, value)| face.tag(tag) == Some(value))
        };
        if Face::all(key, &asks_for).iter().any(meant) {
            let kept = tags.iter().filter(|(tag, _)| key.tag(tag).is_some()).cloned().collect();
            found.insert((key.measurement.clone(), kept));
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faces(measurement: &str, tags: &[(&str, &str)], asked: &str) -> Vec<String> {
        let tags = tags.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let key = SeriesKey::new("b", measurement, tags).unwrap();
        let shown = |face: &Face| {
            let tags: String = face.tags.iter().map(|(k, v)| format!(",{k}={v}")).collect();
            format!("{}{tags}", face.measurement)
        };
        Face::all(&key, &|name| name == asked).iter().map(shown).collect()
    }

    #[test]
    fn a_series_is_found_as_it_was_written_and_by_its_stored_name_if_that_is_asked_for() {
        assert_eq!(faces("bar.1m.BRK.B", &[("venue", "X")], ""), ["bar,symbol=BRK.B,timeframe=1m,venue=X"]);
        assert_eq!(faces("tick.A", &[], "tick.A"), ["tick,symbol=A", "tick.A"]);
        assert_eq!(faces("metric.cpu", &[], "metrics"), ["metrics,component=cpu", "metric,component=cpu"]);
        assert_eq!(faces("cpu", &[("host", "a")], "cpu"), ["cpu,host=a"]);
        assert_eq!(faces("bar", &[("symbol", "A")], "bar"), ["bar,symbol=A"]);
        assert_eq!(faces("book.A", &[("symbol", "B")], ""), ["book.A,symbol=B"]);
    }

    #[test]
    fn what_a_client_names_is_found_where_it_is_stored() {
        let key = |measurement: &str, tags: &[(&str, &str)]| {
            let tags = tags.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            SeriesKey::new("b", measurement, tags).unwrap()
        };
        let all = [
            key("bar.1m.A", &[]),
            key("bar.1m.A", &[("venue", "X")]),
            key("bar.5m.A", &[]),
            key("bar.1m.B", &[]),
            key("cpu", &[("host", "a")]),
        ];
        let of = |measurement, tags: &[(&str, &str)]| {
            let tags: Vec<_> = tags.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            let found = stored(&all, measurement, &tags);
            found.iter().map(|(m, tags)| format!("{m} {}", tags.len())).collect::<Vec<_>>()
        };
        assert_eq!(of(Some("bar"), &[("symbol", "A")]), ["bar.1m.A 0", "bar.5m.A 0"]);
        assert_eq!(of(Some("bar"), &[("symbol", "A"), ("venue", "X")]), ["bar.1m.A 1"]);
        assert_eq!(of(Some("bar.1m.A"), &[]), ["bar.1m.A 0"]);
        assert_eq!(of(None, &[("host", "a")]), ["cpu 1"]);
        assert_eq!(of(None, &[]).len(), 4);
        assert!(of(Some("cpu"), &[("host", "b")]).is_empty());
    }

    /// What a line is mapped to shows itself as the line.
    #[test]
    fn faces_are_the_way_back_of_the_mapping() {
        for (measurement, tags) in [
            ("bar", vec![("symbol", "A"), ("timeframe", "5m")]),
            ("tick", vec![("symbol", "A.B")]),
            ("book", vec![("symbol", "A"), ("venue", "X")]),
            ("signal", vec![("strategy", "s")]),
            ("metric", vec![("component", "c")]),
        ] {
            let tags: Vec<_> = tags.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            let stored = kinds::typed_key(SeriesKey::new("b", measurement, tags.clone()).unwrap());
            assert_ne!(stored.measurement, measurement);
            assert_eq!(Face::written(&stored), Some(Face { measurement: measurement.into(), tags }));
        }
    }
}
