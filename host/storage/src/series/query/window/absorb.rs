//! Summaries in place of rows.

use super::super::ast::Function;
use super::{Accumulator, Fold, better};
use crate::error::Result;
use crate::series::pieces::{FieldSummary, Part, Summary, Total};

/// The parts of summaries of which it can be had; `None`: a deviation and a quantile need every value.
pub(in crate::series::query) fn parts_of(function: Function) -> Option<&'static [Part]> {
    match function {
        Function::First => Some(&[Part::First]),
        Function::Last => Some(&[Part::Last]),
        Function::Min => Some(&[Part::Least]),
        Function::Max => Some(&[Part::Greatest]),
        Function::Sum => Some(&[Part::Sum]),
        Function::Mean => Some(&[Part::Sum, Part::Count]),
        Function::Count => Some(&[Part::Count]),
        Function::Stddev | Function::Quantile => None,
    }
}

impl Fold {
    /// Takes what is known of rows that lie in one window, after all that came before. Sums of floats are added sum by sum:
    /// their last bits may differ from those of the values added one by one.
    pub(in crate::series::query) fn summary(&mut self, summary: &Summary) -> Result<()> {
        self.reach(summary.first)?;
        for accumulator in &mut self.accumulators {
            if let Some(field) = summary.fields.iter().find(|f| f.name == accumulator.spec.input) {
                accumulator.absorb(field);
            }
        }
        Ok(())
    }
}

impl Accumulator {
    fn absorb(&mut self, field: &FieldSummary) {
        let state = &mut self.state;
        match self.spec.function {
            Function::First => {
                if state.count == 0 && field.first.is_some() {
                    state.picked.clone_from(&field.first);
                    state.count = 1;
                }
            }
            Function::Last => {
                if field.last.is_some() {
                    state.picked.clone_from(&field.last);
                    state.count = 1;
                }
            }
            Function::Count => state.count += field.count,
            Function::Min | Function::Max => {
                let least = self.spec.function == Function::Min;
                if let Some(found) = if least { &field.least } else { &field.greatest }.clone() {
                    state.count += 1;
                    state.picked = Some(match state.picked.take() {
                        Some(before) => better(before, found, least),
                        None => found,
                    });
                }
            }
            Function::Sum | Function::Mean => {
                state.count += field.count;
                match field.sum {
                    Total::Float(sum) => state.sum += sum,
                    Total::Whole(sum) => state.whole += sum,
                    Total::Decimal(sum, scale) => {
                        state.whole += sum;
                        state.scale = scale;
                    }
                    Total::None => {}
                }
            }
            // Not asked for: see `parts_of`.
            Function::Stddev | Function::Quantile => {}
        }
    }
}
