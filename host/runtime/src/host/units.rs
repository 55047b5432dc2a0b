//! Decimals for guests. `shiphold:host@0.1` has no type for them: a guest reads and writes the nearest floats, or names a field
//! `close@8` and has its units as integers. The scale in the name is checked, so nobody reads units of another size.

use shiphold_storage::series::{Column, Frame, FrameStream, Values};
use shiphold_storage::{Error, Result};

/// A field whose units a guest wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// `close@8`
    asked: String,
    field: String,
}

/// The field and the scale of `close@8`, if the field is a decimal; any other name is one of its own.
fn wanted(asked: &str, scale: &dyn Fn(&str) -> Option<u8>) -> Result<Option<Wanted>> {
    let Some((field, digits)) = asked.rsplit_once('@') else { return Ok(None) };
    let (Ok(given), Some(declared)) = (digits.parse::<u8>(), scale(field)) else { return Ok(None) };
    if given != declared {
        return Err(Error::invalid(format!("`{field}` is a decimal({declared}), not one of scale {given}"))
            .hint(format!("name it `{field}@{declared}`")));
    }
    Ok(Some(Wanted { asked: asked.to_string(), field: field.to_string() }))
}

/// The fields to read for those that a guest names, and which of them it wants as units.
pub(super) fn fields(
    asked: Vec<String>,
    scale: &dyn Fn(&str) -> Option<u8>,
) -> Result<(Vec<String>, Vec<Wanted>)> {
    let (mut fields, mut units): (Vec<String>, Vec<Wanted>) = (Vec::new(), Vec::new());
    for name in asked {
        let found = wanted(&name, scale)?;
        let read = found.as_ref().map_or(&name, |w| &w.field);
        let as_units = |w: &Wanted| w.field == *read;
        if fields.contains(read) && (found.is_some() || units.iter().any(as_units)) {
            return Err(Error::invalid(format!("the field `{read}` is asked for twice"))
                .hint("ask for it as floats or as units, not both"));
        }
        fields.push(read.clone());
        units.extend(found);
    }
    Ok((fields, units))
}

/// Rows with units where they are wanted.
pub(super) fn with_units(stream: FrameStream, wanted: Vec<Wanted>) -> FrameStream {
    if wanted.is_empty() {
        return stream;
    }
    let of = move |column: Column| match (wanted.iter().find(|w| w.field == column.name), column.values) {
        (Some(w), Values::Decimal(units, _)) => {
            Column { name: w.asked.clone(), values: Values::Integer(units), ..column }
        }
        (_, values) => Column { values, ..column },
    };
    Box::new(stream.map(move |frame| {
        let Frame { times, columns } = frame?;
        Ok(Frame { times, columns: columns.into_iter().map(&of).collect() })
    }))
}

/// What a guest writes: integers of `close@8` are units.
pub(super) fn from_units(frame: &mut Frame, scale: &dyn Fn(&str) -> Option<u8>) -> Result<()> {
    for column in &mut frame.columns {
        let Some(w) = wanted(&column.name, scale)? else { continue };
        let Some(declared) = scale(&w.field) else { continue };
        match std::mem::replace(&mut column.values, Values::Boolean(Vec::new())) {
            Values::Integer(units) => column.values = Values::Decimal(units, declared),
            other => {
                return Err(Error::invalid(format!("`{}` holds units, which are integers", w.asked))
                    .hint(format!("write {} values to `{}`", other.field_type(), w.field)));
            }
        }
        column.name = w.field;
    }
    frame.validate()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(field: &str) -> Option<u8> {
        (field == "close").then_some(8)
    }

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|n| (*n).to_string()).collect()
    }

    #[test]
    fn units_are_named_with_their_scale() {
        let (read, units) = fields(names(&["close@8", "volume", "volume@2", "close@x"]), &scale).unwrap();
        assert_eq!(read, names(&["close", "volume", "volume@2", "close@x"]));
        let column = |name: &str, values| Column::new(name, values);
        let rows = Frame {
            times: vec![1],
            columns: vec![
                column("close", Values::Decimal(vec![5], 8)),
                column("volume", Values::Float(vec![1.0])),
            ],
        };
        let mut shown = with_units(Box::new([Ok(rows.clone())].into_iter()), units);
        let mut frame = shown.next().unwrap().unwrap();
        assert_eq!(frame.columns[0], column("close@8", Values::Integer(vec![5])));
        assert_eq!(frame.columns[1], rows.columns[1]);
        from_units(&mut frame, &scale).unwrap();
        assert_eq!(frame, rows, "and back");
    }

    #[test]
    fn another_scale_or_type_is_refused() {
        let e = fields(names(&["close@2"]), &scale).unwrap_err();
        assert!(e.message().contains("decimal(8)") && e.hint_text().unwrap().contains("close@8"), "{e}");
        assert!(fields(names(&["close", "close@8"]), &scale).unwrap_err().message().contains("twice"));
        for (name, values, word) in [
            ("close@8", Values::Float(vec![1.0]), "integers"),
            ("close@2", Values::Integer(vec![1]), "decimal(8)"),
        ] {
            let mut frame = Frame { times: vec![1], columns: vec![Column::new(name, values)] };
            let e = from_units(&mut frame, &scale).unwrap_err();
            assert!(e.message().contains(word) && e.hint_text().is_some(), "{e}");
        }
        let two = vec![
            Column::new("close", Values::Float(vec![1.0])),
            Column::new("close@8", Values::Integer(vec![1])),
        ];
        assert!(from_units(&mut Frame { times: vec![1], columns: two }, &scale).is_err());
    }
}
