//! The one error of the WIT package, from and to the data layer's own.

pub(crate) use crate::bindings::shiphold::host::types::Error as Guest;
use shiphold_storage::{Error, Kind};

/// A storage error in the guest's words.
pub(crate) fn to_guest(e: &Error) -> Guest {
    let message = e.hint_text().map_or_else(|| e.message().to_string(), |h| format!("{} ({h})", e.message()));
    match e.kind() {
        Kind::NotFound => Guest::NotFound(message),
        Kind::Denied | Kind::Unauthenticated => Guest::Denied(message),
        Kind::Limit => Guest::Limit(message),
        Kind::Conflict | Kind::PartialWrite => Guest::Conflict(message),
        Kind::Timeout | Kind::Cancelled => Guest::Timeout(message),
        Kind::Invalid | Kind::Incompatible => Guest::Invalid(message),
        Kind::Busy
        | Kind::ReadOnly
        | Kind::Full
        | Kind::Corrupt
        | Kind::Unavailable
        | Kind::Io
        | Kind::Plugin
        | Kind::Internal => Guest::Unavailable(message),
    }
}

/// What a guest says of a call: the kind of its error, for a caller who asked through it, and its sentence as it came.
pub(crate) fn from_guest(e: &Guest) -> (Kind, &str) {
    match e {
        Guest::Invalid(said) => (Kind::Invalid, said),
        Guest::NotFound(said) => (Kind::NotFound, said),
        Guest::Denied(said) => (Kind::Denied, said),
        Guest::Limit(said) => (Kind::Limit, said),
        Guest::Conflict(said) => (Kind::Conflict, said),
        Guest::Timeout(said) => (Kind::Timeout, said),
        Guest::Unavailable(said) => (Kind::Unavailable, said),
    }
}

/// What a plugin says that is asked for what its world does not do.
pub(crate) fn other_world() -> Guest {
    Guest::Invalid(
        "its world does not do that: `shiphold plugins list` shows the world of each plugin".into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_a_guest_can_name_comes_back_as_it_went() {
        for kind in [
            Kind::Invalid,
            Kind::NotFound,
            Kind::Denied,
            Kind::Limit,
            Kind::Conflict,
            Kind::Timeout,
            Kind::Unavailable,
        ] {
            let said = to_guest(&Error::new(kind, "what").hint("then"));
            assert_eq!(from_guest(&said), (kind, "what (then)"));
        }
        assert_eq!(from_guest(&to_guest(&Error::new(Kind::Corrupt, "x"))).0, Kind::Unavailable);
    }
}
