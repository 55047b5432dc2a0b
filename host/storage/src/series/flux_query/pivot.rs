//! Fields become columns: the tables of one series as one, row by row in ascending time.

use super::stage::Frames;
use super::table::Growing;
use crate::error::Result;
use crate::series::{Column, FieldType, Frame};

/// Rows of a frame that is put together.
const BATCH_ROWS: usize = 4_096;

/// One field on its way.
pub(super) struct Field<'a> {
    pub(super) name: String,
    pub(super) of: FieldType,
    pub(super) frames: Frames<'a>,
    /// What of it was read and not yet used.
    pub(super) frame: Frame,
    pub(super) at: usize,
}

impl Field<'_> {
    /// Reads on when what was read is used up.
    fn fill(&mut self) -> Result<()> {
        if self.at >= self.frame.len() {
            self.frame = self.frames.next().transpose()?.unwrap_or_default();
            self.at = 0;
        }
        Ok(())
    }

    fn time(&self) -> Option<i64> {
        self.frame.times.get(self.at).copied()
    }
}

/// The rows of all fields; a row has no value of a field that has none at its time.
pub(super) struct Pivoted<'a> {
    pub(super) fields: Vec<Field<'a>>,
}

impl Pivoted<'_> {
    fn batch(&mut self) -> Result<Option<Frame>> {
        for field in &mut self.fields {
            field.fill()?;
        }
        if let Some(frame) = self.alike() {
            return Ok(Some(frame));
        }
        let mut times = Vec::new();
        let mut columns: Vec<Growing> = self.fields.iter().map(|f| Growing::new(&f.name, f.of)).collect();
        while times.len() < BATCH_ROWS {
            let Some(time) = self.fields.iter().filter_map(Field::time).min() else { break };
            times.push(time);
            for (field, column) in self.fields.iter_mut().zip(&mut columns) {
                if field.time() == Some(time) {
                    column.push(field.frame.columns.first().and_then(|c| c.get(field.at)));
                    field.at += 1;
                    field.fill()?;
                } else {
                    column.push(None);
                }
            }
        }
        let columns = columns.into_iter().map(Growing::into_column).collect();
        Ok((!times.is_empty()).then_some(Frame { times, columns }))
    }

    /// Where all fields have the same times, as those of bars do, their columns stand beside each other as they are.
    fn alike(&mut self) -> Option<Frame> {
        let first = &self.fields.first()?.frame.times;
        let same = !first.is_empty() && self.fields.iter().all(|f| f.at == 0 && f.frame.times == *first);
        if !same {
            return None;
        }
        let mut whole = Frame::default();
        for field in &mut self.fields {
            let frame = std::mem::take(&mut field.frame);
            let column = frame.columns.into_iter().next()?;
            whole.columns.push(Column { name: field.name.clone(), ..column });
            whole.times = frame.times;
        }
        Some(whole)
    }
}

impl Iterator for Pivoted<'_> {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch().transpose()
    }
}
