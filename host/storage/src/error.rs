//! One error type for the crate: a kind for programs, a sentence and a hint for people, the source kept.

use std::fmt;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for programs. The string form ([`Kind::code`]) is stable: it is the `code` of HTTP
/// problem documents and of `--json` errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request cannot be understood or breaks a rule; sending it again will not help.
    Invalid,
    /// Part of a batch was stored and part refused (a field-type conflict); the message counts both.
    PartialWrite,
    /// The named thing does not exist.
    NotFound,
    /// The thing exists already, or changed since the caller read it (compare-and-set).
    Conflict,
    /// The caller is known and may not do this.
    Denied,
    /// No token, or an unknown one.
    Unauthenticated,
    /// A named bound was exceeded; the message says which, its value and how to raise it.
    Limit,
    /// Another process owns the data folder, or a queue is full; trying again may help.
    Busy,
    /// The store is read-only: the disk reached its watermark.
    ReadOnly,
    /// The disk is full; nothing of this request was stored.
    Full,
    /// Stored bytes do not match their checksum or format; the message names the object.
    Corrupt,
    /// A peer (InfluxDB) cannot be reached.
    Unavailable,
    /// Written by a newer or unknown version.
    Incompatible,
    /// The time limit of the request ran out.
    Timeout,
    /// The caller cancelled.
    Cancelled,
    /// The operating system refused an operation.
    Io,
    /// A plugin trapped, or returned what it must not.
    Plugin,
    /// A fault of Shiphold itself.
    Internal,
}

impl Kind {
    /// The stable, machine-readable name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::PartialWrite => "partial-write",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Denied => "denied",
            Self::Unauthenticated => "unauthenticated",
            Self::Limit => "limit",
            Self::Busy => "busy",
            Self::ReadOnly => "read-only",
            Self::Full => "disk-full",
            Self::Corrupt => "corrupt",
            Self::Unavailable => "unavailable",
            Self::Incompatible => "incompatible",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Io => "io",
            Self::Plugin => "plugin",
            Self::Internal => "internal",
        }
    }
}

/// An error of the storage layer. Small: the parts are boxed, so that `Result` stays cheap on hot paths.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with one sentence that names the object.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), hint: None, source: None }))
    }

    /// The next step for the person who reads it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts where it happened in front of the sentence.
    #[must_use]
    pub fn context(mut self, place: impl fmt::Display) -> Self {
        self.0.message = format!("{place}: {}", self.0.message);
        self
    }

    /// The same error once more, for several who wait for the same thing; without its cause.
    #[must_use]
    pub fn again(&self) -> Self {
        let copy = Self::new(self.kind(), self.message());
        match self.hint_text() {
            Some(hint) => copy.hint(hint),
            None => copy,
        }
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }
    pub fn message(&self) -> &str {
        &self.0.message
    }
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(Kind::Denied, message)
    }
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt, message)
    }
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// A bound was exceeded: which one, its value, and the manifest key that raises it.
    pub fn limit(what: impl fmt::Display, bound: impl fmt::Display, raise: impl fmt::Display) -> Self {
        Self::new(Kind::Limit, format!("{what} exceeds the limit of {bound}")).hint(format!("{raise}"))
    }

    /// An I/O error at `place`; a full disk becomes [`Kind::Full`]. One of ours that travelled as an I/O error comes out as it
    /// was.
    pub fn io(place: impl fmt::Display, source: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let source = match source.downcast::<Self>() {
            Ok(own) => return own.context(place),
            Err(source) => source,
        };
        let kind = match source.kind() {
            K::StorageFull | K::QuotaExceeded => Kind::Full,
            K::NotFound => Kind::NotFound,
            K::PermissionDenied => Kind::Denied,
            _ => Kind::Io,
        };
        let error = Self::new(kind, format!("{place}: {source}")).source(source);
        match kind {
            Kind::Full => error.hint(
                "free space on the disk that holds the data folder; nothing of this request was stored",
            ),
            _ => error,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as C;
        let kind = match error.sqlite_error_code() {
            Some(C::DiskFull) => Kind::Full,
            Some(C::DatabaseCorrupt | C::NotADatabase) => Kind::Corrupt,
            Some(C::DatabaseBusy | C::DatabaseLocked) => Kind::Busy,
            // A file that cannot be made, also for want of room.
            Some(C::SystemIoFailure | C::CannotOpen) => Kind::Io,
            Some(C::ReadOnly) => Kind::ReadOnly,
            Some(C::OperationInterrupted) => Kind::Timeout,
            Some(C::ConstraintViolation) => Kind::Conflict,
            _ => match error {
                rusqlite::Error::QueryReturnedNoRows => Kind::NotFound,
                _ => Kind::Internal,
            },
        };
        let hinted = Self::new(kind, format!("database: {error}"));
        let hinted = match kind {
            Kind::Full => hinted.hint(
                "free space on the disk that holds the data folder; nothing of this request was stored",
            ),
            Kind::Corrupt => hinted.hint("run `shiphold verify` and restore the newest backup"),
            _ => hinted,
        };
        hinted.source(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code(), self.0.message)?;
        if let Some(hint) = &self.0.hint {
            write!(f, " (hint: {hint})")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, " (caused by: {source})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| s.as_ref() as _)
    }
}
