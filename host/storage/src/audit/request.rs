//! On whose behalf a thread works: the id of an HTTP request or of a plugin's run, which every entry written meanwhile carries.

use crate::error::{Error, Result};
use crate::hex;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// Bytes of an id.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

thread_local! {
    static CURRENT: RefCell<Option<RequestId>> = const { RefCell::new(None) };
}

/// The id of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RequestId {
    /// One that somebody chose: 1 to 64 of letters, digits, `.`, `_`, `-` and `:`.
    pub fn new(text: &str) -> Result<Self> {
        let ok = (1..=REQUEST_ID_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:".contains(&b));
        if ok {
            return Ok(Self(text.into()));
        }
        let shown: String = text.chars().take(REQUEST_ID_BYTES_MAX).collect();
        Err(Error::invalid(format!("`{}` is no id of a request", shown.escape_debug()))
            .hint(format!("use 1 to {REQUEST_ID_BYTES_MAX} letters, digits, `.`, `_`, `-` and `:`")))
    }

    /// One that nobody else has: 16 random hexadecimal digits.
    pub fn random() -> Self {
        let mut bytes = [0; 8];
        // Without random bytes the clock will do: an id tells requests apart, it keeps nothing secret.
        if getrandom::fill(&mut bytes).is_err() {
            bytes = crate::schema::now_ns().to_be_bytes();
        }
        Self(hex::encode(bytes).into())
    }

    /// What `work` records on this thread carries this id.
    pub fn during<T>(self, work: impl FnOnce() -> T) -> T {
        /// Puts back what was there, after a panic too.
        struct Restore(Option<RequestId>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _before = Restore(CURRENT.replace(Some(self)));
        work()
    }

    /// The id for which this thread works.
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_holds_for_its_work_and_no_longer() {
        assert_eq!(RequestId::current(), None);
        let (a, b) = (RequestId::new("a").unwrap(), RequestId::new("b:1").unwrap());
        let seen = a.clone().during(|| {
            let inner = b.clone().during(RequestId::current);
            (inner, RequestId::current())
        });
        assert_eq!(seen, (Some(b), Some(a.clone())));
        let panicked = std::panic::catch_unwind(|| a.during(|| panic!("while working")));
        assert!(panicked.is_err());
        assert_eq!(RequestId::current(), None);
    }

    #[test]
    fn ids_have_a_form() {
        assert_ne!(RequestId::random(), RequestId::random());
        assert!(RequestId::new(&RequestId::random().to_string()).is_ok());
        assert!(RequestId::new(&"x".repeat(REQUEST_ID_BYTES_MAX)).is_ok());
        for bad in ["", " ", "a b", "ä", "a\n", "a\"", &"x".repeat(REQUEST_ID_BYTES_MAX + 1)] {
            assert!(RequestId::new(bad).is_err(), "{bad:?}");
        }
    }
}
