//! A run: rows of one series in strictly ascending time, a lane per field. What is in memory, what a chunk
//! decodes to, what a merge makes of several.

use crate::series::{FieldType, Values};

/// `match` over the types of [`Values`], giving values of the same type.
macro_rules! map_values {
    ($values:expr, $v:ident => $body:expr) => {
        match $values {
            $crate::series::Values::Float($v) => $crate::series::Values::Float($body),
            // A stored decimal is its units.
            $crate::series::Values::Integer($v) | $crate::series::Values::Decimal($v, _) => {
                $crate::series::Values::Integer($body)
            }
            $crate::series::Values::Unsigned($v) => $crate::series::Values::Unsigned($body),
            $crate::series::Values::Boolean($v) => $crate::series::Values::Boolean($body),
            $crate::series::Values::String($v) => $crate::series::Values::String($body),
        }
    };
}
/// `match` over the types of [`Values`].
macro_rules! with_values {
    ($values:expr, $v:ident => $body:expr) => {
        match $values {
            $crate::series::Values::Float($v) => $body,
            $crate::series::Values::Integer($v) | $crate::series::Values::Decimal($v, _) => $body,
            $crate::series::Values::Unsigned($v) => $body,
            $crate::series::Values::Boolean($v) => $body,
            $crate::series::Values::String($v) => $body,
        }
    };
}

/// A vector that must grow becomes longer by this part at least.
const GROW_PART: usize = 8;

/// The values of one field. `valid: None` means that every row has one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lane {
    /// The field's number in its measurement.
    pub field: u32,
    pub values: Values,
    pub valid: Option<Vec<bool>>,
}

impl Lane {
    pub(super) fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|v| v.get(row).copied().unwrap_or(false))
    }
    pub(super) fn field_type(&self) -> FieldType {
        self.values.field_type()
    }
    /// The last row with a value.
    pub(super) fn last_row(&self) -> Option<usize> {
        match &self.valid {
            Some(v) => v.iter().rposition(|b| *b),
            None => self.values.len().checked_sub(1),
        }
    }
    fn slice(&self, from: usize, to: usize) -> Self {
        Self {
            field: self.field,
            values: map_values!(&self.values, v => part(v, from, to)),
            valid: self.valid.as_ref().map(|v| part(v, from, to)),
        }
    }
    /// Puts the type's default where no value is.
    fn blank(&mut self) {
        fn clear<T: Default>(values: &mut [T], valid: &[bool]) {
            values.iter_mut().zip(valid).filter(|(_, ok)| !**ok).for_each(|(v, _)| *v = T::default());
        }
        if let Some(valid) = &self.valid {
            with_values!(&mut self.values, v => clear(v, valid));
        }
    }

    /// Rows without a value, before or after the others.
    fn pad(&mut self, before: usize, after: usize) {
        let n = self.values.len();
        fn grow<T: Clone + Default>(v: &mut Vec<T>, before: usize, after: usize) {
            if before > 0 {
                v.splice(0..0, std::iter::repeat_n(T::default(), before));
            }
            v.resize(v.len() + after, T::default());
        }
        let valid = self.valid.get_or_insert_with(|| vec![true; n]);
        grow(valid, before, after);
        with_values!(&mut self.values, v => grow(v, before, after));
    }
}

fn part<T: Clone>(values: &[T], from: usize, to: usize) -> Vec<T> {
    values.get(from..to).map(<[T]>::to_vec).unwrap_or_default()
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Run {
    pub times: Vec<i64>,
    /// Ascending by field.
    pub lanes: Vec<Lane>,
}

impl Run {
    /// Brings rows of any order into a run: the last of a time wins, fields merge. Rows and lanes without any
    /// value are left out.
    pub(super) fn from_rows(times: Vec<i64>, mut lanes: Vec<Lane>) -> Self {
        lanes.sort_by_key(|l| l.field);
        let mut run = Self { times, lanes };
        run.tidy();
        if !run.times.is_sorted_by(|a, b| a < b) {
            run.sort();
        }
        run
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }
    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
    pub(super) fn min(&self) -> Option<i64> {
        self.times.first().copied()
    }
    pub(super) fn max(&self) -> Option<i64> {
        self.times.last().copied()
    }
    pub(super) fn lane(&self, field: u32) -> Option<&Lane> {
        self.lanes.binary_search_by_key(&field, |l| l.field).ok().and_then(|i| self.lanes.get(i))
    }

    /// Bytes of the values in memory, strings included.
    pub(super) fn size_bytes(&self) -> usize {
        let lanes = self.lanes.iter().map(|l| l.valid.as_ref().map_or(0, Vec::len) + value_bytes(&l.values));
        self.times.len() * 8 + lanes.sum::<usize>()
    }

    /// [`Run::size_bytes`] of what a merge with another one makes, at most: a lane that one of them lacks is filled up.
    pub(super) fn merged_bytes_max(&self, other: &Self) -> usize {
        let rows = self.len() + other.len();
        let lane_bytes = |a: &Lane, b: Option<&Lane>| {
            let whole = a.valid.is_none() && b.is_some_and(|b| b.valid.is_none());
            let filled = rows - a.values.len() - b.map_or(0, |b| b.values.len());
            let each = match a.field_type() {
                FieldType::Boolean => 1,
                FieldType::String => size_of::<String>(),
                _ => 8,
            };
            let values = value_bytes(&a.values) + b.map_or(0, |b| value_bytes(&b.values)) + filled * each;
            values + if whole { 0 } else { rows }
        };
        let own = self.lanes.iter().map(|l| lane_bytes(l, other.lane(l.field)));
        let others = other.lanes.iter().filter(|l| self.lane(l.field).is_none()).map(|l| lane_bytes(l, None));
        rows * 8 + own.chain(others).sum::<usize>()
    }

    /// Drops lanes and rows that hold no value, validity that says nothing, and what stands where no value is.
    pub(super) fn tidy(&mut self) {
        self.lanes.retain_mut(|lane| {
            if lane.valid.as_ref().is_some_and(|v| v.iter().all(|b| *b)) {
                lane.valid = None;
            }
            lane.blank();
            lane.valid.as_ref().is_none_or(|v| v.contains(&true))
        });
        if self.lanes.iter().any(|l| l.valid.is_none()) {
            return;
        }
        let keep: Vec<bool> = (0..self.len()).map(|row| self.lanes.iter().any(|l| l.is_valid(row))).collect();
        self.keep(&keep);
    }

    /// Keeps the rows that are marked.
    pub(super) fn keep(&mut self, keep: &[bool]) {
        if keep.iter().all(|k| *k) {
            return;
        }
        fn retain<T>(values: &mut Vec<T>, keep: &[bool]) {
            let mut marks = keep.iter();
            values.retain(|_| marks.next().copied().unwrap_or(false));
        }
        retain(&mut self.times, keep);
        for lane in &mut self.lanes {
            with_values!(&mut lane.values, v => retain(v, keep));
            if let Some(valid) = &mut lane.valid {
                retain(valid, keep);
            }
        }
    }

    fn sort(&mut self) {
        let mut order: Vec<(i64, usize)> = self.times.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let groups: Vec<&[(i64, usize)]> = order.chunk_by(|a, b| a.0 == b.0).collect();
        for lane in &mut self.lanes {
            // The last row of the time that has a value; without one, any row stands for it.
            let rows: Vec<(usize, bool)> = groups
                .iter()
                .map(|g| match g.iter().rev().find(|(_, row)| lane.is_valid(*row)) {
                    Some((_, row)) => (*row, true),
                    None => (g.first().map_or(0, |g| g.1), false),
                })
                .collect();
            lane.values = map_values!(&lane.values, v => rows.iter().map(|(r, _)| v.get(*r).cloned().unwrap_or_default()).collect());
            if lane.valid.is_some() {
                let valid: Vec<bool> = rows.iter().map(|r| r.1).collect();
                lane.valid = valid.contains(&false).then_some(valid);
            }
        }
        self.times = groups.iter().filter_map(|g| g.first()).map(|g| g.0).collect();
    }

    /// Rows `from..to`, of the chosen fields.
    pub(super) fn slice(&self, from: usize, to: usize, fields: Option<&[u32]>) -> Self {
        let chosen = |l: &&Lane| fields.is_none_or(|f| f.contains(&l.field));
        Self {
            times: part(&self.times, from, to),
            lanes: self.lanes.iter().filter(chosen).map(|l| l.slice(from, to)).collect(),
        }
    }

    /// Cuts the run in two before row `at`.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let at = at.min(self.len());
        Self {
            times: self.times.split_off(at),
            lanes: self
                .lanes
                .iter_mut()
                .map(|l| Lane {
                    field: l.field,
                    values: map_values!(&mut l.values, v => v.split_off(at)),
                    valid: l.valid.as_mut().map(|v| v.split_off(at)),
                })
                .collect(),
        }
    }

    /// Same fields, and no gaps in either.
    pub(super) fn same_shape(&self, other: &Self) -> bool {
        self.lanes.len() == other.lanes.len()
            && self.lanes.iter().zip(&other.lanes).all(|(a, b)| {
                a.field == b.field
                    && a.field_type() == b.field_type()
                    && a.valid.is_none()
                    && b.valid.is_none()
            })
    }

    /// Adds rows that are all later than these.
    pub(super) fn append(&mut self, mut other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        let (n, m) = (self.len(), other.len());
        extend(&mut self.times, &mut other.times);
        let mut later = other.lanes.into_iter().peekable();
        let mut lanes = Vec::with_capacity(self.lanes.len());
        let alone = |mut lane: Lane| {
            lane.pad(n, 0);
            lane
        };
        for mut lane in std::mem::take(&mut self.lanes) {
            while let Some(new) = later.next_if(|l| l.field < lane.field) {
                lanes.push(alone(new));
            }
            match later.next_if(|l| l.field == lane.field) {
                // The type of a field is fixed, and every decoder checks it; of a field whose row in the catalogue is
                // damaged it is not known, and what does not fit is left out.
                Some(new) if new.field_type() != lane.field_type() => lane.pad(0, m),
                Some(new) => {
                    if lane.valid.is_some() || new.valid.is_some() {
                        let valid = lane.valid.get_or_insert_with(|| vec![true; n]);
                        valid.extend(new.valid.unwrap_or_else(|| vec![true; m]));
                    }
                    match (&mut lane.values, new.values) {
                        (Values::Float(a), Values::Float(mut b)) => extend(a, &mut b),
                        (Values::Integer(a), Values::Integer(mut b)) => extend(a, &mut b),
                        (Values::Unsigned(a), Values::Unsigned(mut b)) => extend(a, &mut b),
                        (Values::Boolean(a), Values::Boolean(mut b)) => extend(a, &mut b),
                        (Values::String(a), Values::String(mut b)) => extend(a, &mut b),
                        _ => {}
                    }
                }
                None => lane.pad(0, m),
            }
            lanes.push(lane);
        }
        lanes.extend(later.map(alone));
        self.lanes = lanes;
    }
}

fn value_bytes(values: &Values) -> usize {
    match values {
        Values::Boolean(v) => v.len(),
        Values::String(v) => v.iter().map(|s| s.len() + size_of::<String>()).sum(),
        other => other.len() * 8,
    }
}

/// Appends without doubling what is there: the head has very many of these, and room that is not used is not counted.
fn extend<T>(to: &mut Vec<T>, more: &mut Vec<T>) {
    if to.capacity() - to.len() < more.len() {
        to.reserve_exact(more.len().max(to.len() / GROW_PART));
    }
    to.append(more);
}

/// Marks that a run has no row at a time.
const NO_ROW: usize = usize::MAX;

/// Merges runs, oldest first: the newest value of a time and field wins.
pub(super) fn merge_all(mut runs: Vec<Run>) -> Run {
    // Only neighbours in age may be merged; halving keeps the work at n log k.
    while runs.len() > 1 {
        let mut next = Vec::with_capacity(runs.len().div_ceil(2));
        let mut pairs = runs.into_iter();
        while let Some(older) = pairs.next() {
            next.push(match pairs.next() {
                Some(newer) => merge(older, newer),
                None => older,
            });
        }
        runs = next;
    }
    runs.pop().unwrap_or_default()
}

/// Merges two runs; the newer one wins per time and field.
pub(super) fn merge(mut older: Run, mut newer: Run) -> Run {
    if older.max() < newer.min() {
        older.append(newer);
        return older;
    }
    if newer.max() < older.min() {
        newer.append(older);
        return newer;
    }
    let mut times = Vec::with_capacity(older.len().max(newer.len()));
    let mut plan: Vec<(usize, usize)> = Vec::with_capacity(times.capacity());
    let mut a = older.times.iter().copied().enumerate().peekable();
    let mut b = newer.times.iter().copied().enumerate().peekable();
    loop {
        let (time, rows) = match (a.peek().copied(), b.peek().copied()) {
            (Some((i, t)), Some((_, u))) if t < u => (t, (i, NO_ROW)),
            (Some((_, t)), Some((j, u))) if u < t => (u, (NO_ROW, j)),
            (Some((i, t)), Some((j, _))) => (t, (i, j)),
            (Some((i, t)), None) => (t, (i, NO_ROW)),
            (None, Some((j, u))) => (u, (NO_ROW, j)),
            (None, None) => break,
        };
        if rows.0 != NO_ROW {
            a.next();
        }
        if rows.1 != NO_ROW {
            b.next();
        }
        times.push(time);
        plan.push(rows);
    }
    let mut fields: Vec<u32> = older.lanes.iter().chain(&newer.lanes).map(|l| l.field).collect();
    fields.sort_unstable();
    fields.dedup();
    let lanes = fields.iter().filter_map(|f| pick_lane(*f, &plan, older.lane(*f), newer.lane(*f))).collect();
    Run { times, lanes }
}

fn pick_lane(
    field: u32,
    plan: &[(usize, usize)],
    older: Option<&Lane>,
    newer: Option<&Lane>,
) -> Option<Lane> {
    let kind = newer.or(older)?.field_type();
    macro_rules! of {
        ($variant:ident, $t:ty) => {{
            fn view(lane: Option<&Lane>) -> (&[$t], Option<&[bool]>) {
                match lane {
                    Some(Lane { values: Values::$variant(v), valid, .. }) => (v, valid.as_deref()),
                    _ => (&[], None),
                }
            }
            let (values, valid) = pick(plan, view(older), view(newer));
            (Values::$variant(values), valid)
        }};
    }
    let (values, valid) = match kind {
        FieldType::Float => of!(Float, f64),
        FieldType::Integer | FieldType::Decimal(_) => of!(Integer, i64),
        FieldType::Unsigned => of!(Unsigned, u64),
        FieldType::Boolean => of!(Boolean, bool),
        FieldType::String => of!(String, String),
    };
    Some(Lane { field, values, valid })
}

type View<'a, T> = (&'a [T], Option<&'a [bool]>);

fn pick<T: Clone + Default>(
    plan: &[(usize, usize)],
    older: View<'_, T>,
    newer: View<'_, T>,
) -> (Vec<T>, Option<Vec<bool>>) {
    fn at<'a, T>((values, valid): View<'a, T>, row: usize) -> Option<&'a T> {
        match valid {
            Some(v) if !v.get(row).copied().unwrap_or(false) => None,
            _ => values.get(row),
        }
    }
    let mut values = Vec::with_capacity(plan.len());
    let mut valid = Vec::with_capacity(plan.len());
    for &(i, j) in plan {
        let value = at(newer, j).or_else(|| at(older, i));
        valid.push(value.is_some());
        values.push(value.cloned().unwrap_or_default());
    }
    let gaps = valid.contains(&false);
    (values, gaps.then_some(valid))
}
