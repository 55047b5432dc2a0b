//! Is a query builder, wherever it is configured.

wit_bindgen::generate!({ world: "query-builder-plugin", path: "../../wit" });

use exports::shiphold::host::query_builder::{Frame, Guest, NamedQuery};

struct Otherworld;

impl Guest for Otherworld {
    fn describe() -> Result<Vec<NamedQuery>, String> {
        Ok(Vec::new())
    }
    fn build(name: String, _params: String) -> Result<String, String> {
        Err(format!("there is no query `{name}`"))
    }
    fn transform(_name: String, _params: String, batch: Frame, _last: bool) -> Result<Frame, String> {
        Ok(batch)
    }
}

export!(Otherworld);
