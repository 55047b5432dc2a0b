//! Bars from CSV files.
