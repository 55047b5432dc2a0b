//! Bytes as hexadecimal digits, and back.

/// Two digits a byte, in lower case.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |at: u8| DIGITS.get(usize::from(at)).copied().map_or('0', char::from);
    bytes.as_ref().iter().flat_map(|b| [digit(b >> 4), digit(b & 0xf)]).collect()
}

/// The bytes of digits of either case; `None` of anything else, and of an odd number of them.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[a, b]| Some(digit(*a)? << 4 | digit(*b)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

/// [`decode`] of exactly so many bytes.
pub fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Before anything is made of a text of any length.
    if text.len() != 2 * N {
        return None;
    }
    decode(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_bytes() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let text = encode(&all);
        assert!(text.starts_with("000102") && text.ends_with("fdfeff"));
        assert_eq!(decode(&text), Some(all.clone()));
        assert_eq!(decode(&text.to_uppercase()), Some(all));
        assert_eq!((encode([]), decode("")), (String::new(), Some(Vec::new())));
        assert_eq!(decode_array("00ff"), Some([0, 255]));
        for wrong in ["0", "000", "0g", "+f", " 0", "0x", "é", "00 0"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
        for wrong in ["", "00", "000000", "+f+f", "00é"] {
            assert_eq!(decode_array::<2>(wrong), None, "{wrong}");
        }
    }
}
