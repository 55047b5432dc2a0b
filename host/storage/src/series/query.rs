//! The query AST and its one executor.
