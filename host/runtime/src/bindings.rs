//! The one place where WIT becomes Rust: world `host`, which has every import and every export. A plugin is linked
//! against the interfaces of its grants only (see [`crate::linker`]), so a trait that no world of this version can
//! reach needs no implementation.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "host",
    imports: { default: async | trappable },
    exports: { default: async },
    with: {
        "shiphold:host/series.scan": crate::host::series::Scan,
        "shiphold:host/retention-types.cursor": crate::host::retention::Cursor,
    },
    trappable_error_type: { "shiphold:host/types.error" => crate::host::HostError },
    require_store_data_send: true,
    anyhow: true,
});
