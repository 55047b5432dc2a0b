//! The only `bindgen!`: the host's side of `wit/`.

#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "host",
    imports: { default: async | trappable },
    exports: { default: async },
    with: {
        "shiphold:host/series.scan": crate::host::series::Scan,
        "shiphold:host/files.reader": crate::host::files::Reader,
        "shiphold:host/files.writer": crate::host::files::Writer,
        "shiphold:host/retention-types.cursor": crate::host::retention::Cursor,
    },
});
