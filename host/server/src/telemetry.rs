//! The log, on standard error.

use tracing_subscriber::EnvFilter;

/// For the host: what `RUST_LOG` says, else `info`.
pub(crate) fn init(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second call (tests) keeps the first log.
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
}

/// For a command: only what goes wrong.
pub(crate) fn init_quiet() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).try_init();
}
