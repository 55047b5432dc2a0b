//! Is a query builder, wherever it is configured.

wit_bindgen::generate!({ world: "query-builder-plugin", path: "../../wit" });

use exports::shiphold::host::query_builder::{Frame, Guest, NamedQuery};
use shiphold::host::types::Error;

struct Otherworld;

impl Guest for Otherworld {
    fn describe() -> Result<Vec<NamedQuery>, Error> {
        Ok(Vec::new())
    }
    fn build(name: String, _params: String) -> Result<String, Error> {
        Err(Error::NotFound(format!("there is no query `{name}`")))
    }
    fn transform(_name: String, _params: String, batch: Frame, _last: bool) -> Result<Frame, Error> {
        Ok(batch)
    }
}

export!(Otherworld);
