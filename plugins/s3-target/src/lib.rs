//! The example backup target for a bucket of any S3-compatible server. The host gives it named blobs, already encrypted;
//! the plugin signs each request with AWS Signature Version 4 and sends it through the host's `http` import.

mod answers;
pub mod client;
pub mod config;
mod encode;
pub mod error;
#[cfg(target_family = "wasm")]
mod guest;
#[cfg(test)]
mod hostile;
pub mod sigv4;
mod time;
pub mod upload;
mod xml;
