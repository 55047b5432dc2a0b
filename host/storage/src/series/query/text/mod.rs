//! The text form of a query, for people: a small language like SQL that becomes the AST, and the AST as that text.
//! `docs/query.md` has the grammar. Nothing in it nests, so a text is read in one pass and its length is the only bound it needs.
//!
//! Names and values are quoted, so no name can be taken for a part of the query: `"name"` with `""` for a quotation mark,
//! `'value'` with `''` for an apostrophe.

mod lex;
mod parse;
mod print;
#[cfg(test)]
mod tests;
mod words;

pub use parse::parse;
pub use print::to_text;

/// Bytes of a text.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
