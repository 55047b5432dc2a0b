//! The InfluxDB 2 engine.
