//! Skills: immutable versions, dependencies, performance, full-text discovery.
