//! Snapshots of all stores at one instant, and restoring them.
