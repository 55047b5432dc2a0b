//! Buckets by name. One is there once something was written to it; one that a client of InfluxDB made before it writes is a
//! name in the settings, so that it is found again.

use super::{Selector, store};
use crate::caller::Caller;
use crate::error::{Error, Kind, Result};
use crate::layer::DataLayer;
use crate::settings::Expect;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Buckets that were made by name.
pub const MADE_MAX: usize = 1_000;
/// Tries when others make buckets too.
const ATTEMPTS_MAX: usize = 10;
/// Where the names are kept.
const NAMESPACE: &str = "system";
const KEY: &str = "series.buckets";

/// A bucket, and how long its rows are kept by the engine itself. Retention policies and deletes are beside that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bucket {
    pub name: String,
    /// Seconds for which the engine keeps rows; `None`: for ever.
    pub keep_s: Option<u64>,
    /// Seconds that the manifest asks for, where it does. Another `keep_s` was set on the server by somebody else, or the host
    /// has not written to the bucket since its start.
    pub declared_s: Option<u64>,
}

/// The buckets that the caller may see, by name: the host's own, those that hold something, those that were made, those of
/// the server that an operator or a token may look at.
pub fn list(layer: &DataLayer, caller: &Caller) -> Result<Vec<Bucket>> {
    let mut names = BTreeSet::from([layer.manifest().series.bucket.clone()]);
    names.extend(layer.series().list(caller, &Selector::default())?.into_iter().map(|info| info.key.bucket));
    names.extend(made(layer, caller)?.0);
    let kept = layer.series().retentions(caller)?;
    names.extend(kept.keys().cloned());
    let declared = layer.manifest().series.influxdb2.as_ref().map(|i| &i.retention);
    let bucket = |name: String| {
        let keep_s = kept.get(&name).copied().flatten().map(|k| k.0.as_secs());
        let declared_s = declared.and_then(|d| d.get(&name)).map(|k| k.0.as_secs());
        Bucket { name, keep_s, declared_s }
    };
    Ok(names.into_iter().map(bucket).collect())
}

/// Makes a bucket: [`Kind::Conflict`] if there is one of that name.
pub fn make(layer: &DataLayer, caller: &Caller, name: &str) -> Result<()> {
    store::check_bucket(name)?;
    for _ in 0..ATTEMPTS_MAX {
        let (mut names, revision) = made(layer, caller)?;
        if is_there(layer, caller, name)? {
            return Err(Error::conflict(format!("bucket with name {name} already exists")));
        }
        if names.len() >= MADE_MAX {
            let raise = "write to it: a bucket is there once it holds something";
            return Err(Error::limit("the buckets that were made", MADE_MAX, raise));
        }
        names.insert(name.to_string());
        let expect = revision.map_or(Expect::Any, Expect::Revision);
        match layer.settings().set(caller, NAMESPACE, KEY, json!(names), expect) {
            Err(e) if e.kind() == Kind::Conflict => {}
            done => return done.map(|_| ()),
        }
    }
    Err(Error::new(Kind::Busy, "others make buckets at the same time").hint("try again"))
}

/// [`Kind::NotFound`] for the first name that is none of a bucket.
pub fn require<'a>(
    layer: &DataLayer,
    caller: &Caller,
    mut names: impl Iterator<Item = &'a str>,
) -> Result<()> {
    names.try_for_each(|name| {
        if is_there(layer, caller, name)? {
            return Ok(());
        }
        Err(Error::not_found(format!("could not find bucket \"{}\"", name.escape_debug()))
            .hint("a bucket is there once something was written to it"))
    })
}

fn is_there(layer: &DataLayer, caller: &Caller, name: &str) -> Result<bool> {
    if name == layer.manifest().series.bucket || made(layer, caller)?.0.contains(name) {
        return Ok(true);
    }
    let of = Selector { bucket: Some(name.into()), ..Selector::default() };
    Ok(!layer.series().list(caller, &of)?.is_empty())
}

/// The names that were made, and the revision of the setting that holds them.
fn made(layer: &DataLayer, caller: &Caller) -> Result<(BTreeSet<String>, Option<u64>)> {
    match layer.settings().get(caller, NAMESPACE, KEY, None) {
        Ok(setting) => {
            let names = setting.value.as_ref().and_then(Value::as_array).into_iter().flatten();
            Ok((names.filter_map(Value::as_str).map(str::to_string).collect(), Some(setting.revision)))
        }
        Err(e) if e.kind() == Kind::NotFound => Ok((BTreeSet::new(), None)),
        Err(e) => Err(e),
    }
}

/// The number by which clients know a bucket: the same for the same name, on every host.
pub fn id(name: &str) -> String {
    digest("bucket", name)
}

/// The number of the one organisation, which is the host.
pub fn org_id(host: &str) -> String {
    digest("org", host)
}

/// InfluxDB's form of a number: 16 hexadecimal digits.
fn digest(of: &str, name: &str) -> String {
    let hash = blake3::hash(format!("{of}/{name}").as_bytes());
    hash.to_hex().chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;
    use crate::series::line_protocol::Precision;

    #[test]
    fn a_bucket_is_there_when_it_was_written_to_or_made() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[disk]\nwarn_below = \"2 MiB\"\nread_only_below = \"1 MiB\"\nreserve = \"0 B\"\n";
        let layer =
            DataLayer::open(&Manifest::parse(text, &dir.path().join("shiphold.toml")).unwrap()).unwrap();
        let op = Caller::Operator;
        let names = |layer: &DataLayer, caller: &Caller| -> Result<Vec<String>> {
            let all = list(layer, caller)?;
            assert!(all.iter().all(|b| b.keep_s.is_none() && b.declared_s.is_none()));
            Ok(all.into_iter().map(|b| b.name).collect())
        };
        assert_eq!(names(&layer, &op).unwrap(), ["market"]);
        layer.series().write_lines(&op, "ticks", b"m v=1 1", Precision::Ns).unwrap();
        make(&layer, &op, "later").unwrap();
        assert_eq!(names(&layer, &op).unwrap(), ["later", "market", "ticks"]);
        for name in ["later", "market", "ticks"] {
            assert_eq!(make(&layer, &op, name).unwrap_err().kind(), Kind::Conflict, "{name}");
            require(&layer, &op, [name].into_iter()).unwrap();
        }
        assert_eq!(require(&layer, &op, ["nope"].into_iter()).unwrap_err().kind(), Kind::NotFound);
        assert_eq!(make(&layer, &op, "_x").unwrap_err().kind(), Kind::Invalid);
        let reader = Caller::Token { id: 1, name: "t".into(), scope: crate::Scope::Read };
        assert_eq!(make(&layer, &reader, "other").unwrap_err().kind(), Kind::Denied);
        let many: Vec<String> = (0..MADE_MAX - 1).map(|i| format!("b{i}")).collect();
        layer.settings().set(&op, NAMESPACE, KEY, json!(many), Expect::Any).unwrap();
        make(&layer, &op, "last").unwrap();
        assert_eq!(make(&layer, &op, "one-more").unwrap_err().kind(), Kind::Limit);
    }

    #[test]
    fn numbers_are_stable() {
        assert_eq!(id("market"), id("market"));
        assert!(id("market") != id("ticks") && id("market") != org_id("market"));
        assert!(id("").len() == 16 && id("ü").bytes().all(|b| b.is_ascii_hexdigit()));
    }
}
