//! The columns of a file: `time`, `measurement`, one per tag (`tag:KEY`), one per field.

use crate::error::{Error, Result};
use crate::series::{FieldType, SeriesInfo};
use std::collections::{BTreeMap, BTreeSet};

/// Tags and fields of one file.
pub const COLUMNS_MAX: usize = 10_000;

pub(super) const TIME: &str = "time";
pub(super) const MEASUREMENT: &str = "measurement";
pub(super) const TAG: &str = "tag:";
/// Before the name of a field that would pass for another column.
pub(super) const FIELD: &str = "field:";

/// What a file's columns hold, in order, after `time` and `measurement`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Columns {
    pub(super) tags: Vec<String>,
    pub(super) fields: Vec<(String, FieldType)>,
}

impl Columns {
    /// Those of the chosen series. A field has one type in a file.
    pub(super) fn of(series: &[SeriesInfo], wanted: Option<&[String]>) -> Result<Self> {
        let mut tags = BTreeSet::new();
        let mut fields: BTreeMap<&str, (FieldType, &SeriesInfo)> = BTreeMap::new();
        for info in series {
            tags.extend(info.key.tags.iter().map(|(key, _)| key.clone()));
            for (name, of) in &info.fields {
                if wanted.is_some_and(|w| !w.contains(name)) {
                    continue;
                }
                let (have, other) = fields.entry(name).or_insert((*of, info));
                if have != of {
                    return Err(Error::invalid(format!(
                        "the field `{name}` is a {have} in `{}` and a {of} in `{}`, and one column holds one type",
                        other.key, info.key
                    ))
                    .hint("export the measurements one at a time, or choose other fields"));
                }
            }
        }
        if let Some(missing) = wanted.into_iter().flatten().find(|w| !fields.contains_key(w.as_str())) {
            return Err(Error::invalid(format!("no chosen series has the field `{missing}`"))
                .hint("`shiphold series list` shows the fields"));
        }
        let count = tags.len() + fields.len();
        if count > COLUMNS_MAX {
            return Err(Error::limit(
                format!("the file's {count} columns"),
                COLUMNS_MAX,
                "choose fewer series or fields",
            ));
        }
        let fields = fields.into_iter().map(|(name, (of, _))| (name.to_string(), of)).collect();
        Ok(Self { tags: tags.into_iter().collect(), fields })
    }
}

pub(super) fn tag_column(key: &str) -> String {
    format!("{TAG}{key}")
}

/// A field keeps its name, unless another column could have it.
pub(super) fn field_column(name: &str) -> String {
    let taken = name == TIME || name == MEASUREMENT || name.starts_with(TAG) || name.starts_with(FIELD);
    if taken { format!("{FIELD}{name}") } else { name.to_string() }
}
