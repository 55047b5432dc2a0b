//! The binary `shiphold`: a command line, HTTP, telemetry.

fn main() {}
