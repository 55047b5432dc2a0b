//! How bars, ticks, books, signals and metrics are laid out as measurements.
