//! A reader of the small XML that S3 answers with: elements, text, entities. Attributes and comments are passed over; a
//! document type, which could define entities, is refused. Each document is read once, from its beginning to its end.

/// Elements that may stand in each other; S3's answers need five.
const DEPTH_MAX: usize = 16;

#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Start(String),
    /// The text of an element without the markup; never only white space.
    Text(String),
    End(String),
}

pub struct Reader<'t> {
    rest: &'t str,
    open: Vec<&'t str>,
    /// Of `<name/>`: its end is still to be told.
    closing: Option<&'t str>,
    seen_root: bool,
}

impl<'t> Reader<'t> {
    pub fn new(bytes: &'t [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_string())?;
        Ok(Self {
            rest: text.trim_start_matches('\u{feff}'),
            open: Vec::new(),
            closing: None,
            seen_root: false,
        })
    }

    /// None at the end of a whole document. Each call takes something away, so that every document ends.
    pub fn next(&mut self) -> Result<Option<Event>, String> {
        if let Some(name) = self.closing.take() {
            return Ok(Some(Event::End(name.into())));
        }
        loop {
            let Some(at) = self.rest.find('<') else {
                return if !self.rest.trim().is_empty() {
                    Err("text stands outside of the elements".into())
                } else if self.open.is_empty() && self.seen_root {
                    Ok(None)
                } else {
                    Err("it ends too early".into())
                };
            };
            let (text, rest) = self.rest.split_at(at);
            if !text.trim().is_empty() {
                if self.open.is_empty() {
                    return Err("text stands outside of the elements".into());
                }
                self.rest = rest;
                return unescaped(text).map(|t| Some(Event::Text(t)));
            }
            self.rest = rest;
            if let Some(inside) = rest.strip_prefix("<?") {
                self.rest = after(inside, "?>")?;
            } else if let Some(inside) = rest.strip_prefix("<!--") {
                self.rest = after(inside, "-->")?;
            } else if rest.starts_with("<!") {
                return Err("it holds a document type or CDATA".into());
            } else if let Some(inside) = rest.strip_prefix("</") {
                return self.end(inside).map(Some);
            } else {
                return self.start(rest.strip_prefix('<').unwrap_or_default()).map(Some);
            }
        }
    }

    fn start(&mut self, inside: &'t str) -> Result<Event, String> {
        let name = name(inside)?;
        let mut rest = inside.get(name.len()..).unwrap_or_default();
        // Attributes: a `>` in a quoted value ends nothing.
        let closed = loop {
            rest = rest.trim_start();
            if let Some(r) = rest.strip_prefix("/>") {
                rest = r;
                break true;
            }
            if let Some(r) = rest.strip_prefix('>') {
                rest = r;
                break false;
            }
            let (key, value) = rest.split_once('=').ok_or("a tag does not end")?;
            if key.is_empty() || key.contains(['<', '>', '"', '\'']) {
                return Err("an attribute has no value".into());
            }
            let quote = value
                .chars()
                .next()
                .filter(|c| matches!(c, '"' | '\''))
                .ok_or("an attribute has no quotes")?;
            rest = value.get(1..).and_then(|v| v.split_once(quote)).ok_or("an attribute does not end")?.1;
        };
        if self.open.is_empty() && self.seen_root {
            return Err("it has two roots".into());
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(format!("elements stand more than {DEPTH_MAX} deep"));
        }
        self.seen_root = true;
        self.rest = rest;
        if closed {
            self.closing = Some(name)
        } else {
            self.open.push(name)
        }
        Ok(Event::Start(name.into()))
    }

    fn end(&mut self, inside: &'t str) -> Result<Event, String> {
        let (name, rest) = inside.split_once('>').ok_or("a tag does not end")?;
        let name = name.trim_end();
        if self.open.pop() != Some(name) {
            return Err("an element ends that did not begin".into());
        }
        self.rest = rest;
        Ok(Event::End(name.into()))
    }
}

fn name(inside: &str) -> Result<&str, String> {
    let end =
        inside.find(|c: char| c.is_whitespace() || matches!(c, '/' | '>')).ok_or("a tag does not end")?;
    let name = inside.get(..end).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if name.is_empty() || !name.chars().all(plain) {
        return Err("an element has no name".into());
    }
    Ok(name)
}

fn after<'t>(text: &'t str, end: &str) -> Result<&'t str, String> {
    text.split_once(end).map(|(_, rest)| rest).ok_or_else(|| format!("`{end}` is missing"))
}

fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, entity)) = rest.split_once('&') {
        out.push_str(plain);
        let (entity, after) = entity.split_once(';').ok_or("an entity does not end")?;
        out.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => numbered(entity).ok_or("an entity is unknown")?,
        });
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// `#233` and `#xE9`.
fn numbered(entity: &str) -> Option<char> {
    let number = entity.strip_prefix('#')?;
    let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |hex| (hex, 16));
    let plain = !digits.is_empty() && digits.len() <= 8 && digits.chars().all(|c| c.is_digit(radix));
    plain.then(|| u32::from_str_radix(digits, radix).ok()).flatten().and_then(char::from_u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Result<Vec<Event>, String> {
        let mut reader = Reader::new(text)?;
        let mut events = Vec::new();
        while let Some(event) = reader.next()? {
            events.push(event);
            assert!(events.len() <= 2 * text.len());
        }
        Ok(events)
    }

    fn start(name: &str) -> Event {
        Event::Start(name.into())
    }

    fn end(name: &str) -> Event {
        Event::End(name.into())
    }

    #[test]
    fn documents() {
        let text = "\u{feff}<?xml version=\"1.0\"?>\n<A xmlns=\"http://x/>\"><!-- <no> --><B>a&amp;&#233;&#xe9; </B><C/>\n</A>\n";
        assert_eq!(
            read(text.as_bytes()).unwrap(),
            [start("A"), start("B"), Event::Text("a&éé ".into()), end("B"), start("C"), end("C"), end("A")]
        );
    }

    #[test]
    fn what_is_no_document() {
        for (text, words) in [
            ("", "ends too early"),
            ("x", "outside"),
            ("<A>", "ends too early"),
            ("<A></B>", "did not begin"),
            ("<A/><B/>", "two roots"),
            ("<A/>x", "outside"),
            ("<A", "does not end"),
            ("<A b", "does not end"),
            ("<A b=c>", "no quotes"),
            ("<A b=\"c>", "does not end"),
            ("<>", "no name"),
            ("<!DOCTYPE A [<!ENTITY x \"y\">]><A>&x;</A>", "document type"),
            ("<A>&x;</A>", "unknown"),
            ("<A>&amp</A>", "does not end"),
            ("<A>&#xD800;</A>", "unknown"),
            ("<A>&#+65;</A>", "unknown"),
            ("<!-- ", "missing"),
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(read(&[b'<', 0xff]).unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn the_depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "<A>".repeat(depth), "</A>".repeat(depth));
        assert_eq!(read(nested(DEPTH_MAX).as_bytes()).unwrap().len(), 2 * DEPTH_MAX);
        assert!(read(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err().contains("16 deep"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_hang(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn nothing_near_a_document_panics_or_hangs(parts in proptest::collection::vec(
            prop_oneof![
                Just("<A>"), Just("</A>"), Just("<B x='1'"), Just("/>"), Just(">"), Just("&amp;"), Just("&#"),
                Just(";"), Just("é"), Just("<!--"), Just("-->"), Just("<?"), Just("?>"), Just("=\""), Just(" ")
            ], 0..40))
        {
            let _ = read(parts.concat().as_bytes());
        }

        #[test]
        fn every_text_comes_back(text in "[^\u{0}-\u{1f}]*[^\\s\u{0}-\u{1f}][^\u{0}-\u{1f}]*") {
            let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&#62;");
            let events = read(format!("<A>{escaped}</A>").as_bytes()).unwrap();
            prop_assert_eq!(events, [start("A"), Event::Text(text), end("A")]);
        }
    }
}
