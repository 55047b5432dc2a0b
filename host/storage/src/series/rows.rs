//! Rows that are put together one by one.

use super::query::Builder;
use super::{FieldType, Frame, Value};
use std::collections::BTreeMap;

/// Rows as they come; columns are added as they turn up.
#[derive(Default)]
pub(in crate::series) struct Rows {
    times: Vec<i64>,
    columns: BTreeMap<String, (FieldType, Builder)>,
}

impl Rows {
    pub(in crate::series) fn len(&self) -> usize {
        self.times.len()
    }

    /// Adds a row, unless it has no value.
    pub(in crate::series) fn add<'a>(
        &mut self,
        time: i64,
        cells: impl Iterator<Item = (&'a str, FieldType, Option<Value>)>,
    ) {
        let before = self.times.len();
        let mut any = false;
        for (name, of, value) in cells {
            let Some(value) = value else { continue };
            any = true;
            if !self.columns.contains_key(name) {
                self.columns.insert(name.to_string(), (of, Builder::new(name, of)));
            }
            if let Some((_, column)) = self.columns.get_mut(name) {
                column.gap(before.saturating_sub(column.len()));
                column.push(Some(value));
            }
        }
        if any {
            self.times.push(time);
        }
    }

    /// Adds a row of which nothing but its time is wanted.
    pub(in crate::series) fn add_time(&mut self, time: i64) {
        self.times.push(time);
    }

    /// The type of a column that is there.
    pub(in crate::series) fn field_type(&self, name: &str) -> Option<FieldType> {
        self.columns.get(name).map(|(of, _)| *of)
    }

    pub(in crate::series) fn into_frame(self) -> Frame {
        let rows = self.times.len();
        let columns = self.columns.into_values().map(|(_, mut column)| {
            column.gap(rows.saturating_sub(column.len()));
            column.into_column()
        });
        Frame { columns: columns.collect(), times: self.times }
    }
}
