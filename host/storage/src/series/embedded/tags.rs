//! The tags of a series in one piece of memory, in an order that is that of its key.

use std::borrow::{Borrow, Cow};

/// Ends each key and each value.
const END: u8 = 0;
/// After a zero byte that is part of a text. No UTF-8 has it, so that a text still comes before the longer one.
const ESCAPED: u8 = 0xff;

/// Tags as their series' key has them, sorted: keys and values in turn. The bytes of two compare as the tags do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Tags(Box<[u8]>);

impl Tags {
    pub(super) fn pack(tags: &[(String, String)]) -> Self {
        let texts = || tags.iter().flat_map(|(key, value)| [key, value]);
        // Just as long as it becomes: a longer one would leave a hole beside each series.
        let zeros = |text: &String| text.bytes().filter(|byte| *byte == END).count();
        let mut bytes = Vec::with_capacity(texts().map(|text| text.len() + zeros(text) + 1).sum());
        for text in texts() {
            for byte in text.bytes() {
                bytes.push(byte);
                if byte == END {
                    bytes.push(ESCAPED);
                }
            }
            bytes.push(END);
        }
        Self(bytes.into_boxed_slice())
    }

    pub(super) fn unpack(&self) -> Vec<(String, String)> {
        self.pairs().map(|(key, value)| (text(key).into_owned(), text(value).into_owned())).collect()
    }

    /// All of `wanted` are among them, with these values.
    pub(super) fn have(&self, wanted: &Self) -> bool {
        wanted.pairs().all(|pair| self.pairs().any(|own| own == pair))
    }

    /// Keys and values as they are packed.
    fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || Some((cut(&mut rest)?, cut(&mut rest)?)))
    }
}

impl Borrow<[u8]> for Tags {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Takes the next text off.
fn cut<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let ends = |at: &usize| rest.get(*at) == Some(&END) && rest.get(at + 1) != Some(&ESCAPED);
    let end = (0..rest.len()).find(ends)?;
    let (text, after) = (rest.get(..end)?, rest.get(end + 1..)?);
    *rest = after;
    Some(text)
}

fn text(packed: &[u8]) -> Cow<'_, str> {
    if !packed.contains(&END) {
        return String::from_utf8_lossy(packed);
    }
    let plain: Vec<u8> = packed.iter().copied().filter(|byte| *byte != ESCAPED).collect();
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Short, and often alike, with zeros and the last characters.
    fn tags() -> impl Strategy<Value = Vec<(String, String)>> {
        prop::collection::vec(("[\u{0}a\u{10ffff}]{1,3}", "[\u{0}b\u{10ffff}]{1,3}"), 0..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn they_come_back_and_compare_as_the_tags_do(a in tags(), b in tags()) {
            let (x, y) = (Tags::pack(&a), Tags::pack(&b));
            prop_assert_eq!(x.unpack(), a.clone());
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x.have(&y), b.iter().all(|pair| a.contains(pair)));
        }
    }

    #[test]
    fn they_take_their_bytes_and_one_more_each() {
        let tags = [("host".to_owned(), "h0001".to_owned()), ("n".to_owned(), "17".to_owned())];
        assert_eq!(Borrow::<[u8]>::borrow(&Tags::pack(&tags)).len(), 12 + 4);
        assert!(Tags::pack(&[]).unpack().is_empty());
    }
}
