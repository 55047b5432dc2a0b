//! The client against a real S3 server: `SHIPHOLD_S3` names a versitygw, which `cargo xtask peers` builds.

mod server;
mod with_s3;
