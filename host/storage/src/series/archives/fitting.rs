//! The types of fields that archived rows fix.

use super::engine::{Archived, CONFLICTS_MAX};
use super::index;
use crate::error::Result;
use crate::series::query::chosen;
use crate::series::{Column, TypeConflict, WriteBatch, WriteReport};

impl Archived {
    /// Takes out rows whose fields have other types in archives: the engine does not know these any more.
    pub(super) fn fitting(&self, batch: WriteBatch) -> Result<(WriteBatch, WriteReport)> {
        let mut report = WriteReport::default();
        let mut out = WriteBatch::default();
        for (key, frame) in batch.series {
            let types = self.index.types(&key);
            let wrong = |c: &Column| {
                types.get(&c.name).is_some_and(|have| *have != index::stored_as(c.values.field_type()))
            };
            if types.is_empty() || !frame.columns.iter().any(wrong) {
                out.series.push((key, frame));
                continue;
            }
            frame.validate().map_err(|e| e.context(&key))?;
            let mut keep = vec![true; frame.len()];
            for column in frame.columns.iter().filter(|c| wrong(c)) {
                let mut any = false;
                for (_, keep) in keep.iter_mut().enumerate().filter(|(row, _)| column.is_valid(*row)) {
                    *keep = false;
                    any = true;
                }
                let Some(have) = types.get(&column.name).copied().filter(|_| any) else { continue };
                let conflict = TypeConflict {
                    bucket: key.bucket.clone(),
                    measurement: key.measurement.clone(),
                    field: column.name.clone(),
                    have,
                    got: column.values.field_type(),
                    value: None,
                };
                if report.conflicts.len() < CONFLICTS_MAX && !report.conflicts.contains(&conflict) {
                    report.conflicts.push(conflict);
                }
            }
            report.dropped += keep.iter().filter(|k| !**k).count() as u64;
            let frame = chosen(frame, &keep);
            if !frame.is_empty() {
                out.series.push((key, frame));
            }
        }
        Ok((out, report))
    }
}
