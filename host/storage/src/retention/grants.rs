//! What a plan's author may do. Plugins need a grant for each series and file; others need the scope `admin`.

use crate::caller::{Caller, Scope, pattern_matches};
use crate::error::{Error, Result};
use crate::series::SeriesKey;

pub(super) fn drop_series(caller: &Caller, key: &SeriesKey) -> Result<()> {
    let Caller::Plugin { name, grants } = caller else { return caller.require(Scope::Admin, "drop rows") };
    let path = format!("{}/{}", key.bucket, key.measurement);
    granted(name, &grants.series_drop, "series.drop", &path)
}

pub(super) fn write_series(caller: &Caller, key: &SeriesKey) -> Result<()> {
    match caller {
        Caller::Plugin { .. } => caller.may_write_series(&key.bucket, &key.measurement),
        _ => caller.require(Scope::Admin, "roll rows up"),
    }
}

pub(super) fn read_series(caller: &Caller, key: &SeriesKey) -> Result<()> {
    caller.may_read_series(&key.bucket, &key.measurement)
}

pub(super) fn write_file(caller: &Caller, store: &str, path: &str) -> Result<()> {
    let Caller::Plugin { name, grants } = caller else {
        return caller.require(Scope::Admin, "archive and drop files");
    };
    granted(name, &grants.files_write, "files.write", &format!("{store}/{path}"))
}

pub(super) fn delete_file(caller: &Caller, store: &str, path: &str) -> Result<()> {
    let Caller::Plugin { name, grants } = caller else {
        return caller.require(Scope::Admin, "drop files");
    };
    granted(name, &grants.files_delete, "files.delete", &format!("{store}/{path}"))
}

pub(super) fn read_file(caller: &Caller, store: &str, path: &str) -> Result<()> {
    let Caller::Plugin { name, grants } = caller else { return caller.require(Scope::Read, "list files") };
    granted(name, &grants.files_read, "files.read", &format!("{store}/{path}"))
}

fn granted(plugin: &str, patterns: &[String], grant: &str, path: &str) -> Result<()> {
    if patterns.iter().any(|p| pattern_matches(p, path)) {
        return Ok(());
    }
    Err(Error::denied(format!("plugin `{plugin}` has no `{grant}` grant for `{path}`"))
        .hint(format!("add a pattern to `grants.{grant}` of the plugin in shiphold.toml")))
}
