//! The one door: HTTP, CLI and plugins all enter here, with a [`crate::Caller`].

/// All stores behind one type.
#[derive(Debug)]
pub struct DataLayer {}
