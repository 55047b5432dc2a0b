//! The retention plugin and hostile components, through the binary.
