//! Who owns the data folder, and how much room is left on its disk.
