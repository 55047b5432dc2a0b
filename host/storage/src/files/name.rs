//! Names of files: relative paths like `momentum/2026-06-26/weights.bin`. They live in SQLite only, but they
//! come back out to people's disks, so what would be trouble on any of them is refused.

use crate::error::{Error, Result};
use crate::manifest::Layout;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

pub const NAME_BYTES_MAX: usize = 512;
pub const PART_BYTES_MAX: usize = 255;

/// Names that are devices on Windows, with any extension.
const DEVICES: [&str; 25] = [
    "con", "prn", "aux", "nul", "conin$", "conout$", "clock$", "com1", "com2", "com3", "com4", "com5",
    "com6", "com7", "com8", "com9", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// Refuses a name with the reason.
pub fn check(name: &str) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::invalid(format!("`{}` is not a name of a file: {why}", name.escape_debug()))
            .hint("write type/date/name, such as `momentum/2026-06-26/weights.bin`"))
    };
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return refuse(&format!("it must have 1 to {NAME_BYTES_MAX} bytes"));
    }
    if name.starts_with('/') {
        return refuse("it is absolute");
    }
    if name.contains('\\') || name.contains(':') {
        return refuse("it has a backslash or a colon");
    }
    if name.chars().any(|c| c.is_control() || is_invisible(c)) {
        return refuse("it has a control or an invisible character");
    }
    if !is_nfc(name) {
        return refuse("it is not in Unicode's composed form (NFC)");
    }
    for part in name.split('/') {
        match part {
            "" => return refuse("a part of it is empty"),
            "." | ".." => return refuse("`.` and `..` are not allowed"),
            p if p.len() > PART_BYTES_MAX => {
                return refuse(&format!("a part of it has more than {PART_BYTES_MAX} bytes"));
            }
            p if p.ends_with('.') || p.ends_with(' ') || p.starts_with(' ') => {
                return refuse("a part of it begins or ends with a space, or ends with a dot");
            }
            p if is_device(p) => return refuse("a part of it is the name of a device"),
            _ => {}
        }
    }
    Ok(())
}

/// What stands before the first dot counts, without spaces at its end; `COM¹` is one, too.
fn is_device(part: &str) -> bool {
    let stem = fold(part.split('.').next().unwrap_or_default());
    DEVICES.contains(&stem.trim_end())
}

/// [`check`], and the layout that a store wants of new names.
pub fn check_in(layout: Layout, name: &str) -> Result<()> {
    check(name)?;
    let dated = || {
        let mut parts = name.split('/').skip(1);
        let digits = |d: &&str| d.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let date = parts.next().filter(|d| d.len() == DATE_BYTES).filter(digits);
        parts.next().is_some() && date.is_some_and(|d| d.parse::<chrono::NaiveDate>().is_ok())
    };
    if layout == Layout::Free || dated() {
        return Ok(());
    }
    Err(Error::invalid(format!("`{name}` has no date in its second place, and this store wants one"))
        .hint("write type/date/name, such as `momentum/2026-06-26/weights.bin`"))
}

/// Bytes of `2026-06-26`.
const DATE_BYTES: usize = 10;

/// Two names with one fold are one name on a disk that ignores case or width.
pub fn fold(name: &str) -> String {
    name.nfkc().collect::<String>().to_lowercase().nfkc().collect()
}

/// Zero-width and direction-changing characters, which make two names look alike, and what is no character at all.
fn is_invisible(c: char) -> bool {
    let none = u32::from(c) & 0xfffe == 0xfffe || matches!(c, '\u{fdd0}'..='\u{fdef}');
    none || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{ad}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names() {
        for name in [
            "a",
            "momentum/2026-06-26/weights.bin",
            "größe/模型.bin",
            "a b/c",
            ".hidden",
            "console.log",
            "a..b",
        ] {
            check(name).unwrap();
        }
        check(&format!("{}/{}", "a".repeat(PART_BYTES_MAX), "b".repeat(PART_BYTES_MAX))).unwrap();
    }

    #[test]
    fn bad_names() {
        for name in [
            "",
            "/etc/passwd",
            "..",
            "../a",
            "a/../b",
            "a/..",
            "./a",
            "a//b",
            "a/",
            "a\\b",
            "C:/x",
            "a\0b",
            "a\nb",
            "CON",
            "nul.txt",
            "x/Com1.log",
            "COM¹",
            "x/lpt³.txt",
            "con .txt",
            "ＣＯＮ",
            "CONIN$",
            "a.",
            "a ",
            " a",
            "a/ b",
            "e\u{301}",
            "a\u{202e}b",
            "a\u{200b}b",
            "\u{feff}a",
            "a\u{10ffff}",
            "\u{fdd0}",
        ] {
            assert!(check(name).is_err(), "{name:?}");
        }
        assert!(check(&"a".repeat(PART_BYTES_MAX + 1)).is_err());
        let long = vec!["a".repeat(127); 5].join("/");
        assert!(check(&long[..NAME_BYTES_MAX - 1]).is_ok());
        assert!(check(&long).is_err());
    }

    #[test]
    fn a_layout_wants_a_date_in_the_second_place() {
        for good in ["momentum/2026-06-26/weights.bin", "a/2024-02-29/b/c"] {
            check_in(Layout::Dated, good).unwrap();
        }
        for bad in [
            "weights.bin",
            "momentum/weights.bin",
            "momentum/2026-06-26",
            "momentum/2026-6-26/w",
            "momentum/2026-02-30/w",
            "2026-06-26/momentum/w",
            "a/+026-06-26/w",
        ] {
            assert!(check_in(Layout::Dated, bad).is_err(), "{bad}");
            check_in(Layout::Free, bad).unwrap();
        }
        assert!(check_in(Layout::Free, "a/../b").is_err());
    }

    /// The same rules hold for every script: what looks alike in two ways of composing is one spelling.
    #[test]
    fn names_of_every_script_and_normalisation() {
        use unicode_normalization::UnicodeNormalization as _;
        for name in [
            "модель/веса",
            "モデル/重み",
            "모델/가중치",
            "نموذج/أوزان",
            "मॉडल/भार",
            "μοντέλο/βάρη",
            "מודל/משקל",
            "mô-hình/trọng-số",
            "𝒎𝒐𝒅𝒆𝒍/🚀",
            "ﬁle",
            "Ⅷ",
            "①",
        ] {
            let composed: String = name.nfc().collect();
            check(&composed).unwrap();
            let apart: String = name.nfd().collect();
            assert_eq!(check(&apart).is_ok(), apart == composed, "{name}");
            assert_eq!(fold(&composed), fold(&apart), "{name}");
            assert_eq!(fold(&fold(&composed)), fold(&composed), "{name}");
        }
        for long in [4 << 10, 1 << 20] {
            assert!(check(&"ä".repeat(long / 2)).is_err());
        }
    }

    #[test]
    fn folding_sees_through_case_and_width() {
        assert_eq!(fold("Weights.BIN"), fold("weights.bin"));
        assert_eq!(fold("ﬁle"), fold("FILE"));
        assert_ne!(fold("a"), fold("b"));
    }

    proptest::proptest! {
        #[test]
        fn no_name_panics_and_a_good_one_stays_inside(name in "\\PC{0,40}") {
            if check(&name).is_ok() {
                let path = std::path::Path::new(&name);
                assert!(path.components().all(|c| matches!(c, std::path::Component::Normal(_))));
                fold(&name);
            }
        }
    }
}
