//! What a component is and wants, read from its bytes: nothing is compiled or run.

use crate::descriptor::{DESCRIPTOR_BYTES_MAX, Descriptor, SECTION};
use crate::text::printable;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use shiphold_storage::hex;
use shiphold_storage::manifest::World;
use shiphold_storage::units::ByteSize;
use shiphold_storage::{Error, Kind, Result};
use std::io::Read as _;
use std::path::Path;
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

/// Bytes of a component that is only looked at; `limits.plugins.component_max` of one that a manifest names has the same bound.
pub const COMPONENT_BYTES_MAX: u64 = 1 << 30;
/// Imports or exports that are looked at.
const NAMES_MAX: usize = 1_000;

/// Bytes of what is wrong with a file that are told.
const SAID_BYTES_MAX: usize = 1_000;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// `retention-policy`, …; by what it exports.
    pub world: Option<String>,
    pub size: u64,
    /// For `sha256` of the manifest.
    pub sha256: String,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    /// Its plugin.toml.
    pub plugin: Option<Descriptor>,
}

/// Reads a component's file, if it is within `most`.
pub(crate) fn read(path: &Path, most: ByteSize) -> Result<Vec<u8>> {
    let place = |e| {
        Error::io(format!("component {}", path.display()), e).hint(
            "build it first (`cargo xtask guests` builds the examples), or mend the path in shiphold.toml",
        )
    };
    let too_large = |size: u64| {
        Error::limit(
            format!("component {} ({size} bytes)", path.display()),
            format!("limits.plugins.component_max = {most}"),
            "build it for size, without debug information, or raise `limits.plugins.component_max` in shiphold.toml",
        )
    };
    let file = std::fs::File::open(path).map_err(place)?;
    let size = file.metadata().map_err(place)?.len();
    if size > most.0 {
        return Err(too_large(size));
    }
    // The file may grow meanwhile.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(most.0.saturating_add(1)).read_to_end(&mut bytes).map_err(place)?;
    if bytes.len() as u64 > most.0 { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Looks at a component file.
pub fn inspect(path: &Path) -> Result<Inspection> {
    inspect_bytes(&read(path, ByteSize(COMPONENT_BYTES_MAX))?).map_err(|e| e.context(path.display()))
}

pub(crate) fn inspect_bytes(bytes: &[u8]) -> Result<Inspection> {
    let broken = |e: wasmparser::BinaryReaderError| {
        // Its words repeat names out of the file.
        let said = printable(&e.to_string(), SAID_BYTES_MAX);
        Error::invalid(format!("it is not a valid WebAssembly component: {said}"))
            .hint("`plugins inspect` takes a component, not a core module: encode it with wit-component or `cargo xtask guests`")
    };
    let (mut imports, mut exports, mut plugin) = (Vec::new(), Vec::new(), None);
    // Nested modules and components have imports of their own, which are not the component's.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(Error::invalid("it is a core module, not a component")
                    .hint("encode it as a component with wit-component, as `cargo xtask guests` does"));
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(s) if depth == 0 => {
                for import in s {
                    imports.push(import.map_err(broken)?.name.name.to_string());
                }
            }
            Payload::ComponentExportSection(s) if depth == 0 => {
                for export in s {
                    exports.push(export.map_err(broken)?.name.name.to_string());
                }
            }
            Payload::CustomSection(s) if depth == 0 && s.name() == SECTION => {
                if plugin.is_some() {
                    return Err(Error::invalid(format!("it has two sections `{SECTION}`")));
                }
                if s.data().len() > DESCRIPTOR_BYTES_MAX {
                    return Err(Error::limit(
                        "the component's plugin.toml",
                        format!("{DESCRIPTOR_BYTES_MAX} bytes"),
                        "shorten it",
                    ));
                }
                plugin = Some(Descriptor::parse(s.data())?);
            }
            _ => {}
        }
        if imports.len() + exports.len() > NAMES_MAX {
            return Err(Error::new(Kind::Limit, format!("it has more than {NAMES_MAX} imports and exports")));
        }
    }
    Validator::new_with_features(WasmFeatures::default()).validate_all(bytes).map_err(broken)?;
    let world = World::ALL
        .iter()
        .find(|w| {
            exports.iter().any(|e| {
                e.strip_prefix("shiphold:host/").is_some_and(|n| n.split('@').next() == Some(w.name()))
            })
        })
        .map(|w| w.name().to_string());
    Ok(Inspection { world, size: bytes.len() as u64, sha256: sha256(bytes), imports, exports, plugin })
}
