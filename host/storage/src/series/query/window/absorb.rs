//! Summaries in place of rows.

use super::super::ast::Function;
use super::{Accumulator, Fold, better};
use crate::error::Result;
use crate::series::pieces::{FieldSummary, Summary, Total};

/// Can it be had of summaries? A deviation and a quantile need every value.
pub(in crate::series::query) fn can_sum_up(function: Function) -> bool {
    match function {
        Function::First | Function::Last | Function::Min | Function::Max => true,
        Function::Sum | Function::Mean | Function::Count => true,
        Function::Stddev | Function::Quantile => false,
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
                if state.count == 0 {
                    state.picked = Some(field.first.clone());
                    state.count = 1;
                }
            }
            Function::Last => {
                state.picked = Some(field.last.clone());
                state.count = 1;
            }
            Function::Count => state.count += field.count,
            Function::Min | Function::Max => {
                let least = self.spec.function == Function::Min;
                if let Some((min, max)) = &field.extremes {
                    let found = if least { min } else { max }.clone();
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
                    Total::None => {}
                }
            }
            // Asked for with `can_sum_up`.
            Function::Stddev | Function::Quantile => {}
        }
    }
}
