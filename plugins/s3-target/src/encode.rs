//! Percent-encoding as Signature Version 4 documents it: everything but `A-Z a-z 0-9 - . _ ~` becomes `%XY`, upper case.

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// One value of a query.
pub fn value(text: &str) -> String {
    encoded(text, false)
}

/// A path: its slashes stay.
pub fn path(text: &str) -> String {
    encoded(text, true)
}

fn encoded(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if plain || (keep_slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from(HEX.get(usize::from(nibble)).copied().unwrap_or(b'0')));
            }
        }
    }
    out
}

/// The canonical query, which is also the one that is sent: encoded, then sorted by name, then by value.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let mut encoded: Vec<(String, String)> = pairs.iter().map(|(k, v)| (value(k), value(v))).collect();
    encoded.sort();
    let joined: Vec<String> = encoded.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
    joined.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn by_hand() {
        assert_eq!(value("a/b c+d=é~"), "a%2Fb%20c%2Bd%3D%C3%A9~");
        assert_eq!(path("a/b c*'()!"), "a/b%20c%2A%27%28%29%21");
        assert_eq!(
            query(&[("uploads", ""), ("prefix", "J"), ("max-keys", "2")]),
            "max-keys=2&prefix=J&uploads="
        );
        // Sorted as encoded: `é` is `%C3%A9` and comes before `a`.
        assert_eq!(query(&[("a", ""), ("é", "")]), "%C3%A9=&a=");
    }

    fn decoded(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut bytes = text.bytes();
        while let Some(b) = bytes.next() {
            if b == b'%' {
                let pair = [bytes.next().unwrap(), bytes.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap());
            } else {
                out.push(b);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>()) {
            prop_assert_eq!(decoded(&value(&text)), text.as_bytes());
            prop_assert_eq!(decoded(&path(&text)), text.as_bytes());
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c);
            prop_assert!(value(&text).chars().all(plain));
            prop_assert!(path(&text).chars().all(|c| plain(c) || c == '/'));
        }
    }
}
