//! Bearer tokens: hashed at rest, scoped.
