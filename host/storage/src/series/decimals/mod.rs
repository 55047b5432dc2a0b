//! Fields that are decimals: `[[series.decimals]]` says which, and how many digits each has after its point.
//!
//! Engines know nothing of it. They store the units as integers, so that every file and every server that holds integers holds
//! decimals; [`DecimalEngine`] stands before them and says what the integers mean, [`settle`] sees to it that they never
//! mean something else than when they were written.

mod engine;
mod number;
mod settle;
#[cfg(test)]
mod tests;

pub(crate) use engine::{DecimalEngine, Face, newest, stored};
pub(in crate::series) use number::sum_to_f64;
pub use number::{Decimal, Inexact, SCALE_MAX};
pub use settle::{HINT, misread};
pub(crate) use settle::{is_settled, settle, unsettled};

use super::{Column, FieldType, Frame, Values};
use crate::caller::pattern_matches;
use crate::manifest::DecimalFields;
use std::sync::Arc;

/// What the manifest declares.
#[derive(Debug, Clone, Default)]
pub struct Scales(Vec<Arc<DecimalFields>>);

impl Scales {
    pub fn new(declared: &[DecimalFields]) -> Self {
        Self(declared.iter().cloned().map(Arc::new).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that a bucket has in any measurement.
    pub(crate) fn of_bucket(&self, bucket: &str) -> FieldScales {
        FieldScales(self.0.iter().filter(|d| d.bucket == bucket).cloned().collect())
    }

    /// Those of one measurement.
    pub fn of(&self, bucket: &str, measurement: &str) -> FieldScales {
        let takes =
            |d: &&Arc<DecimalFields>| d.bucket == bucket && pattern_matches(&d.measurement, measurement);
        FieldScales(self.0.iter().filter(takes).cloned().collect())
    }
}

/// The decimals of one measurement.
#[derive(Debug, Clone, Default)]
pub struct FieldScales(Vec<Arc<DecimalFields>>);

impl FieldScales {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `None`: the field is no decimal. Entries that take the same field have the same scale: the manifest was checked.
    pub fn scale(&self, field: &str) -> Option<u8> {
        self.0.iter().find(|d| d.takes(field)).map(|d| d.scale)
    }

    /// What a stored type is to callers.
    pub(crate) fn shown(&self, field: &str, of: FieldType) -> FieldType {
        match (of, self.scale(field)) {
            (FieldType::Integer, Some(scale)) => FieldType::Decimal(scale),
            _ => of,
        }
    }

    /// What is stored, as what it means.
    pub(crate) fn show(&self, frame: Frame) -> Frame {
        if self.is_empty() {
            return frame;
        }
        let shown = |column: Column| match (column.values, self.scale(&column.name)) {
            (Values::Integer(units), Some(scale)) => {
                Column { values: Values::Decimal(units, scale), ..column }
            }
            (values, _) => Column { values, ..column },
        };
        Frame { columns: frame.columns.into_iter().map(shown).collect(), times: frame.times }
    }
}
