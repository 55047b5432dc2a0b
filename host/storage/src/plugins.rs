//! What the host remembers of plugins: state and run history.
