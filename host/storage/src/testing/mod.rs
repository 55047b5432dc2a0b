//! Fault injection: loss of power, full disks, failing writes.
pub mod influxd;
