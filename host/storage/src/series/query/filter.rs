//! Tag filters: one of several values, a regular expression, or the opposite of either.

use super::ast::TagFilter;
use crate::error::{Error, Result};
use crate::series::SeriesKey;
use regex::{Regex, RegexBuilder};
use std::collections::BTreeSet;

/// Filters of one query.
pub const FILTERS_MAX: usize = 100;
/// Values of one filter.
pub const FILTER_VALUES_MAX: usize = 10_000;
/// Bytes of a regular expression.
pub const REGEX_BYTES_MAX: usize = 1_000;
/// Bytes of one that is compiled. It runs in time linear to the text, whatever it is.
const REGEX_PROGRAM_BYTES_MAX: usize = 1 << 20;

/// A checked filter.
#[derive(Debug)]
pub(super) struct Filter {
    tag: String,
    test: Test,
    not: bool,
}

#[derive(Debug)]
enum Test {
    AnyOf(BTreeSet<String>),
    Matches(Box<Regex>),
}

impl Filter {
    pub(super) fn all(given: &[TagFilter]) -> Result<Vec<Self>> {
        if given.len() > FILTERS_MAX {
            return Err(Error::limit(format!("{} filters", given.len()), FILTERS_MAX, "ask several times"));
        }
        given.iter().map(Self::new).collect()
    }

    fn new(given: &TagFilter) -> Result<Self> {
        if given.tag.is_empty() {
            return Err(Error::invalid("a filter of `where` names no tag")
                .hint(r#"such as {"tag":"exchange","equals":"XNAS"}"#));
        }
        let tag = given.tag.escape_debug();
        let test = match (&given.equals, &given.any_of, &given.matches) {
            (Some(value), None, None) => Test::AnyOf(BTreeSet::from([value.clone()])),
            (None, Some(values), None) if values.len() > FILTER_VALUES_MAX => {
                return Err(Error::limit(
                    format!("{} values of the filter of `{tag}`", values.len()),
                    FILTER_VALUES_MAX,
                    "use `matches`",
                ));
            }
            (None, Some(values), None) => Test::AnyOf(values.iter().cloned().collect()),
            (None, None, Some(pattern)) => Test::Matches(Box::new(regex(&given.tag, pattern)?)),
            _ => {
                return Err(Error::invalid(format!(
                    "the filter of `{tag}` needs exactly one of `equals`, `in` and `matches`"
                ))
                .hint("`not` makes it the opposite"));
            }
        };
        Ok(Self { tag: given.tag.clone(), test, not: given.not })
    }

    /// A series without the tag is as one whose tag is empty.
    pub(super) fn takes(&self, key: &SeriesKey) -> bool {
        let value = key.tag(&self.tag).unwrap_or_default();
        let holds = match &self.test {
            Test::AnyOf(values) => values.contains(value),
            Test::Matches(regex) => regex.is_match(value),
        };
        holds != self.not
    }
}

/// The filters of a request that reads series but is no query.
#[derive(Debug)]
pub(crate) struct Filters(Vec<Filter>);

impl Filters {
    pub(crate) fn new(given: &[TagFilter]) -> Result<Self> {
        Filter::all(given).map(Self)
    }

    pub(crate) fn take(&self, key: &SeriesKey) -> bool {
        self.0.iter().all(|f| f.takes(key))
    }
}

fn regex(tag: &str, pattern: &str) -> Result<Regex> {
    let tag = tag.escape_debug();
    if pattern.len() > REGEX_BYTES_MAX {
        return Err(Error::limit(
            format!("the expression for `{tag}`"),
            format!("{REGEX_BYTES_MAX} bytes"),
            "use `in` with values",
        ));
    }
    RegexBuilder::new(pattern).size_limit(REGEX_PROGRAM_BYTES_MAX).build().map_err(|e| {
        let said = match e {
            regex::Error::CompiledTooBig(_) => "it becomes too large".to_string(),
            other => other.to_string().lines().last().unwrap_or_default().to_string(),
        };
        Error::invalid(format!("the expression for `{tag}` is none: {said}")).hint(
            "it has the syntax of Rust's regex: `^X(NAS|NYS)$`; without `^` and `$` it may match anywhere",
        )
    })
}
