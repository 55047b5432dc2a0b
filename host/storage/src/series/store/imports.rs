//! What an import needs of the store; the rest is in `exchange/import/`.

use super::SeriesStore;
use crate::caller::Caller;
use crate::error::Result;
use crate::series::exchange::import::{Import, ImportProgress, Imported, Plan, run};
use crate::series::{Budget, FieldType, WriteBatch};
use std::io::Read;

impl SeriesStore {
    /// Lets the fields of a CSV file that are decimals by the manifest stay texts: they become decimals where they are written.
    pub(in crate::series) fn keep_digits(&self, plan: &mut Plan) {
        let one = plan.only_measurement().map(|m| self.scales.of(&plan.bucket, m));
        let scales = one.clone().unwrap_or_else(|| self.scales.of_bucket(&plan.bucket));
        for field in plan.fields.iter_mut().filter(|f| f.of == Some(FieldType::Float)) {
            match (scales.scale(&field.name), &one) {
                (None, _) => {}
                (Some(_), Some(_)) => (field.of, field.decimal) = (Some(FieldType::String), true),
                (Some(_), None) => field.exact = true,
            }
        }
    }

    /// Lets the fields of a Parquet file that are decimals there and in the manifest keep their units.
    pub(in crate::series) fn keep_units(&self, plan: &mut Plan, is_decimal: impl Fn(usize) -> bool) {
        let one = plan.only_measurement().map(|m| self.scales.of(&plan.bucket, m));
        let scales = one.unwrap_or_else(|| self.scales.of_bucket(&plan.bucket));
        for field in plan.fields.iter_mut().filter(|f| f.of == Some(FieldType::Float)) {
            field.decimal = is_decimal(field.column) && scales.scale(&field.name).is_some();
        }
        plan.scales = self.scales.clone();
    }

    /// Looks at a batch as [`SeriesStore::write`] does, and writes nothing.
    pub(in crate::series) fn admit(&self, caller: &Caller, batch: &mut WriteBatch) -> Result<()> {
        self.allow(caller, batch)?;
        self.engine.admit(batch)
    }

    /// Rows of a file in Parquet or CSV. All of it is looked at before the first row is written: a file that is wrong anywhere writes
    /// nothing. The rows are written in pieces, each durable before it is noted how far the file is: the same import of the same
    /// file, begun again after it was cut off, goes on from there. Times that are there already are replaced, so it can be run
    /// twice. One file at a time; the next one waits.
    pub fn import(
        &self,
        caller: &Caller,
        input: &mut dyn Read,
        import: &Import,
        budget: &Budget,
        progress: ImportProgress<'_>,
    ) -> Result<Imported> {
        run(self, caller, input, import, budget, progress)
    }
}
