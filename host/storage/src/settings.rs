//! Settings: namespaces of typed JSON values with revisions and compare-and-set.
