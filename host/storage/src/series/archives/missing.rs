//! What of some rows is not there yet.

use crate::error::Result;
use crate::series::query::picked;
use crate::series::{Frame, FrameStream};
use std::collections::{HashMap, HashSet};

/// The rows of a frame without the values that `there` has, whatever they are; rows that have none left are left out.
pub(super) fn missing(mut frame: Frame, there: FrameStream) -> Result<Frame> {
    let at: HashMap<i64, usize> = frame.times.iter().enumerate().map(|(row, t)| (*t, row)).collect();
    let mut taken: HashMap<String, HashSet<usize>> = HashMap::new();
    for have in there {
        let have = have?;
        for column in &have.columns {
            for (_, time) in have.times.iter().enumerate().filter(|(row, _)| column.is_valid(*row)) {
                if let Some(row) = at.get(time) {
                    taken.entry(column.name.clone()).or_default().insert(*row);
                }
            }
        }
    }
    if taken.is_empty() {
        return Ok(frame);
    }
    let rows = frame.len();
    for column in &mut frame.columns {
        let Some(taken) = taken.get(&column.name) else { continue };
        let valid: Vec<bool> = (0..rows).map(|row| column.is_valid(row) && !taken.contains(&row)).collect();
        column.valid = Some(valid);
    }
    frame.columns.retain(|c| c.valid.as_ref().is_none_or(|v| v.contains(&true)));
    let left: Vec<usize> = (0..rows).filter(|row| frame.columns.iter().any(|c| c.is_valid(*row))).collect();
    Ok(if left.len() == rows { frame } else { picked(&frame, &left) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Column, Values};

    #[test]
    fn only_what_is_not_there_is_left() {
        let column = |name: &str, values: &[i64], valid: &[bool]| Column {
            name: name.into(),
            values: Values::Integer(values.to_vec()),
            valid: Some(valid.to_vec()),
        };
        let frame = Frame {
            times: vec![1, 2, 3],
            columns: vec![
                column("a", &[1, 2, 3], &[true, true, true]),
                column("b", &[4, 0, 6], &[true, false, true]),
            ],
        };
        let none: FrameStream = Box::new(std::iter::empty());
        assert_eq!(missing(frame.clone(), none).unwrap(), frame);
        let have =
            Frame { times: vec![1, 2, 9], columns: vec![column("a", &[9, 9, 9], &[true, true, true])] };
        let left = missing(frame.clone(), Box::new(std::iter::once(Ok(have)))).unwrap();
        assert_eq!(left.times, [1, 3]);
        let get = |name: &str, row| left.column(name).unwrap().get(row);
        assert_eq!((get("a", 0), get("b", 0)), (None, Some(crate::series::Value::Integer(4))));
        assert_eq!(
            (get("a", 1), get("b", 1)),
            (Some(crate::series::Value::Integer(3)), Some(crate::series::Value::Integer(6)))
        );
        let all: FrameStream = Box::new(std::iter::once(Ok(frame.clone())));
        assert!(missing(frame, all).unwrap().is_empty());
    }
}
