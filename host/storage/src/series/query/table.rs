//! The answer.

use crate::series::{Column, Decimal, Frame, Values};
use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

/// The answer: `time` in nanoseconds, then columns. With more than one series, a string column per tag and
/// `measurement` say which a row is of; rows are ordered by series, then time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    pub frame: Frame,
    /// There were more rows than the limit.
    pub truncated: bool,
    /// Where the next page goes on (`after` of the same query), if there were more rows than the limit.
    pub next: Option<String>,
}

impl Table {
    pub fn rows(&self) -> usize {
        self.frame.len()
    }
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.frame.column(name)
    }
}

/// `{"columns":[{"name":"time","type":"time","values":[ns,…]},{"name":"close","type":"float","values":[…,null]}],
/// "rows":2,"truncated":false}`
impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Table", 3 + usize::from(self.next.is_some()))?;
        out.serialize_field("columns", &Columns(&self.frame))?;
        out.serialize_field("rows", &self.frame.len())?;
        out.serialize_field("truncated", &self.truncated)?;
        if let Some(next) = &self.next {
            out.serialize_field("next", next)?;
        }
        out.end()
    }
}

struct Columns<'a>(&'a Frame);

impl Serialize for Columns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_seq(Some(self.0.columns.len() + 1))?;
        out.serialize_element(&Named { name: "time", of: "time", values: &self.0.times })?;
        for column in &self.0.columns {
            let of = column.values.field_type().to_string();
            out.serialize_element(&Named { name: &column.name, of: &of, values: Cells(column) })?;
        }
        out.end()
    }
}

#[derive(Serialize)]
struct Named<'a, T> {
    name: &'a str,
    #[serde(rename = "type")]
    of: &'a str,
    values: T,
}

struct Cells<'a>(&'a Column);

impl Serialize for Cells<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn cells<S: Serializer, T: Serialize>(
            serializer: S,
            values: &[T],
            valid: Option<&[bool]>,
        ) -> Result<S::Ok, S::Error> {
            let Some(valid) = valid else { return serializer.collect_seq(values) };
            serializer.collect_seq(values.iter().zip(valid).map(|(v, ok)| ok.then_some(v)))
        }
        let valid = self.0.valid.as_deref();
        match &self.0.values {
            Values::Float(v) => cells(serializer, v, valid),
            Values::Integer(v) => cells(serializer, v, valid),
            Values::Unsigned(v) => cells(serializer, v, valid),
            Values::Boolean(v) => cells(serializer, v, valid),
            Values::String(v) => cells(serializer, v, valid),
            Values::Decimal(v, scale) => {
                let exact: Vec<Decimal> =
                    v.iter().map(|units| Decimal { units: *units, scale: *scale }).collect();
                cells(serializer, &exact, valid)
            }
        }
    }
}
