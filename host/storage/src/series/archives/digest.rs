//! A digest of rows that says nothing of how they are stored: the same rows in other frames, or with their columns in another
//! order, have the same one.

use crate::series::{FieldType, Frame, Values};
use std::collections::BTreeMap;

/// Reads rows of one series in ascending time.
#[derive(Debug, Default)]
pub(super) struct RowsDigest {
    hasher: blake3::Hasher,
    line: Vec<u8>,
    pub(super) rows: u64,
    pub(super) first: Option<i64>,
    pub(super) last: Option<i64>,
    /// Those with a value.
    fields: BTreeMap<String, FieldType>,
}

impl RowsDigest {
    /// A row without a value is none.
    pub(super) fn add(&mut self, frame: &Frame) {
        let mut columns: Vec<_> = frame.columns.iter().map(|c| (c, false)).collect();
        columns.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        for (row, time) in frame.times.iter().enumerate() {
            self.line.clear();
            for (column, seen) in columns.iter_mut().filter(|(c, _)| c.is_valid(row)) {
                *seen = true;
                self.line.extend_from_slice(&(column.name.len() as u64).to_le_bytes());
                self.line.extend_from_slice(column.name.as_bytes());
                value(&mut self.line, &column.values, row);
            }
            if self.line.is_empty() {
                continue;
            }
            self.hasher.update(&time.to_le_bytes());
            self.hasher.update(&(self.line.len() as u64).to_le_bytes());
            self.hasher.update(&self.line);
            self.rows += 1;
            self.first.get_or_insert(*time);
            self.last = Some(*time);
        }
        for (column, _) in columns.iter().filter(|(_, seen)| *seen) {
            if !self.fields.contains_key(&column.name) {
                self.fields.insert(column.name.clone(), column.values.field_type());
            }
        }
    }

    pub(super) fn hex(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }

    pub(super) fn fields(&self) -> Vec<(String, FieldType)> {
        self.fields.iter().map(|(name, of)| (name.clone(), *of)).collect()
    }
}

fn value(out: &mut Vec<u8>, values: &Values, row: usize) {
    fn put<const N: usize>(out: &mut Vec<u8>, tag: u8, bytes: Option<[u8; N]>) {
        out.push(tag);
        out.extend_from_slice(bytes.as_ref().map_or(&[], |b| b.as_slice()));
    }
    match values {
        Values::Float(v) => put(out, 0, v.get(row).map(|x| x.to_bits().to_le_bytes())),
        Values::Integer(v) => put(out, 1, v.get(row).map(|x| x.to_le_bytes())),
        Values::Unsigned(v) => put(out, 2, v.get(row).map(|x| x.to_le_bytes())),
        Values::Boolean(v) => put(out, 3, v.get(row).map(|x| [u8::from(*x)])),
        Values::String(v) => {
            let text = v.get(row).map_or("", String::as_str);
            put(out, 4, Some((text.len() as u64).to_le_bytes()));
            out.extend_from_slice(text.as_bytes());
        }
        Values::Decimal(v, scale) => {
            put(out, 5, Some([*scale]));
            out.extend_from_slice(&v.get(row).map_or([0; 8], |x| x.to_le_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Column;

    fn of(frames: &[Frame]) -> (String, u64) {
        let mut digest = RowsDigest::default();
        frames.iter().for_each(|f| digest.add(f));
        (digest.hex(), digest.rows)
    }

    #[test]
    fn it_is_of_rows_and_not_of_frames() {
        let column = |name: &str, values: &[f64], valid: Option<Vec<bool>>| Column {
            name: name.into(),
            values: Values::Float(values.to_vec()),
            valid,
        };
        let whole = Frame {
            times: vec![1, 2, 3],
            columns: vec![
                column("a", &[1.0, 2.0, 3.0], None),
                column("b", &[7.0, 0.0, 0.0], Some(vec![true, false, false])),
            ],
        };
        let mut first = whole.clone();
        let mut rest = first.split_off(1);
        rest.columns.retain(|c| c.name == "a");
        first.columns.reverse();
        // A row without a value is none.
        let nothing = Frame { times: vec![9], columns: vec![column("a", &[0.0], Some(vec![false]))] };
        assert_eq!(of(std::slice::from_ref(&whole)), of(&[first, rest, nothing]));
        assert_eq!(of(std::slice::from_ref(&whole)).1, 3);
        let with = |edit: &dyn Fn(&mut Frame)| {
            let mut other = whole.clone();
            edit(&mut other);
            of(&[other]).0
        };
        let all = [
            of(std::slice::from_ref(&whole)).0,
            with(&|f| f.times[2] = 4),
            with(&|f| f.columns[0].values = Values::Float(vec![1.0, 2.0, -3.0])),
            with(&|f| f.columns[0].values = Values::Integer(vec![1, 2, 3])),
            with(&|f| f.columns[0].values = Values::Decimal(vec![1, 2, 3], 0)),
            with(&|f| f.columns[0].values = Values::Decimal(vec![1, 2, 3], 1)),
            with(&|f| f.columns[1].valid = None),
            with(&|f| f.columns[1].name = "c".into()),
            with(&|f| f.columns[0].values = Values::String(vec!["x".into(), String::new(), "y".into()])),
        ];
        let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn zeros_of_either_sign_differ() {
        let frame = |v: f64| Frame { times: vec![1], columns: vec![Column::float("a", vec![v])] };
        assert_ne!(of(&[frame(0.0)]), of(&[frame(-0.0)]));
    }
}
