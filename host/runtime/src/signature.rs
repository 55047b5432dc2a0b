//! Signatures of components: minisign's format (ed25519 over BLAKE2b), beside the component as `FILE.minisig`.

use minisign_verify::{PublicKey, Signature};
use shiphold_storage::manifest::Plugin;
use shiphold_storage::{Error, Kind, Result};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Bytes of a signature file.
const SIGNATURE_BYTES_MAX: u64 = 4 << 10;

/// Where the signature of a component stands.
pub(crate) fn beside(component: &Path) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// Whose key signed the component; `None` where the manifest asks for no signature.
pub(crate) fn verify(plugin: &Plugin, bytes: &[u8]) -> Result<Option<String>> {
    if plugin.signers.is_empty() {
        return Ok(None);
    }
    let path = beside(&plugin.component);
    let signature = Signature::decode(&read(&path)?)
        .map_err(|e| Error::invalid(format!("{} is no minisign signature: {e}", path.display())))?;
    for (name, key) in &plugin.signers {
        let key = PublicKey::from_base64(key)
            .map_err(|e| Error::invalid(format!("trust.keys.{name} is no minisign public key: {e}")))?;
        // Without the old form, which signs the bytes themselves.
        if key.verify(bytes, &signature, false).is_ok() {
            return Ok(Some(name.clone()));
        }
    }
    let names: Vec<&str> = plugin.signers.keys().map(String::as_str).collect();
    Err(Error::denied(format!(
        "{} is not signed by {}: the signature beside it is of another key or of other bytes",
        plugin.component.display(),
        names.join(" or ")
    ))
    .hint("sign what you trust: `minisign -S -m FILE`"))
}

fn read(path: &Path) -> Result<String> {
    let failed = |e| {
        Error::io(format!("signature {}", path.display()), e)
            .hint("the manifest asks for a signature: `minisign -S -m FILE` makes it")
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(SIGNATURE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > SIGNATURE_BYTES_MAX {
        return Err(Error::new(
            Kind::Limit,
            format!("signature {} has more than {SIGNATURE_BYTES_MAX} bytes", path.display()),
        ));
    }
    Ok(text)
}
