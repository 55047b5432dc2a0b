//! Against a real InfluxDB 2.
