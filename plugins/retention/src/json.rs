//! Just enough JSON for a configuration: one object of whole numbers, words and lists of words. A general parser would be most of
//! the component; this one halves its size.

/// A value that a configuration can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Integer(i64),
    Word(String),
    Words(Vec<String>),
}

/// The entries of an object in their order, or what is wrong with it.
pub fn object(text: &str) -> Result<Vec<(String, Value)>, String> {
    let mut reader = Reader { rest: text };
    reader.expect('{')?;
    let entries = reader.list('}', |r| {
        let key = r.word()?;
        r.expect(':')?;
        let value = r.value().map_err(|e| format!("`{key}`: {e}"))?;
        Ok((key, value))
    })?;
    reader.skip_space();
    if reader.rest.is_empty() { Ok(entries) } else { Err(reader.unexpected("the end")) }
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Value, String> {
        self.skip_space();
        if self.rest.starts_with('[') {
            self.expect('[')?;
            return self.list(']', Self::word).map(Value::Words);
        }
        if self.rest.starts_with('"') {
            return self.word().map(Value::Word);
        }
        let end = self.rest.find([',', '}', ' ', '\n', '\r', '\t']).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        let value = number.parse().map_err(|_| self.unexpected("a whole number, a text or a list"))?;
        self.rest = rest;
        Ok(Value::Integer(value))
    }

    /// What stands between here and `end`, separated by commas.
    fn list<T>(
        &mut self,
        end: char,
        mut item: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut out = Vec::new();
        self.skip_space();
        if !self.rest.starts_with(end) {
            loop {
                out.push(item(self)?);
                self.skip_space();
                let Some(rest) = self.rest.strip_prefix(',') else { break };
                self.rest = rest;
            }
        }
        self.expect(end)?;
        Ok(out)
    }

    fn word(&mut self) -> Result<String, String> {
        self.expect('"')?;
        let (word, rest) = self.rest.split_once('"').ok_or("a text does not end")?;
        // No key and no timeframe has one.
        if word.contains('\\') {
            return Err("a text holds a backslash".into());
        }
        self.rest = rest;
        Ok(word.into())
    }

    fn expect(&mut self, what: char) -> Result<(), String> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(what).ok_or_else(|| self.unexpected(&format!("`{what}`")))?;
        Ok(())
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\n', '\r', '\t']);
    }

    fn unexpected(&self, wanted: &str) -> String {
        let found: String = self.rest.chars().take(20).collect();
        if found.is_empty() {
            format!("it ends where {wanted} should be")
        } else {
            format!("expected {wanted}, not `{found}`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects() {
        assert_eq!(object("{}").unwrap(), []);
        assert_eq!(
            object(" { \"a\" : -2 , \"b\":[ \"x\",\"y\" ],\"c\":[], \"d\": \"z\" }\n").unwrap(),
            [
                ("a".into(), Value::Integer(-2)),
                ("b".into(), Value::Words(vec!["x".into(), "y".into()])),
                ("c".into(), Value::Words(vec![])),
                ("d".into(), Value::Word("z".into())),
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, words) in [
            ("", "ends where `{` should be"),
            ("[]", "expected `{`, not `[]`"),
            ("{\"a\":1.5}", "`a`: expected a whole number, a text or a list, not `1.5}`"),
            ("{\"a\":99999999999999999999}", "`a`: expected a whole number"),
            ("{\"a\":true}", "`a`: expected a whole number, a text or a list, not `true}`"),
            ("{\"a\":\"x}", "`a`: a text does not end"),
            ("{\"a\":[1]}", "`a`: expected `\"`, not `1]}`"),
            ("{\"a\":[\"x\" \"y\"]}", "expected `]`"),
            ("{\"a\":1,}", "expected `\"`, not `}`"),
            ("{\"a\":1} x", "expected the end, not `x`"),
            ("{\"a\":[\"x", "does not end"),
            ("{\"a\\u0000\":1}", "backslash"),
            ("{\"a\"", "ends where `:` should be"),
        ] {
            let error = object(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
