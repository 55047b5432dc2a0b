//! Secrets of the manifest: from the environment or a file, never from the manifest itself.

use crate::error::{Error, Result};
use crate::manifest::{Manifest, SecretSource};
use std::io::Read as _;

/// Bytes of a secret.
pub const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Reads a secret, without the newline at its end. Errors name the secret and where it is looked for, never its value.
pub(crate) fn secret(manifest: &Manifest, name: &str) -> Result<String> {
    let source = manifest.secrets.get(name).ok_or_else(|| {
        Error::not_found(format!("there is no secret `{}`", name.escape_debug()))
            .hint(format!("add [secrets.{}] with `env` or `file` to shiphold.toml", name.escape_debug()))
    })?;
    let (text, place) = match source {
        SecretSource::Env(variable) => {
            let place = format!("secret `{name}`, environment variable {variable}");
            let value = std::env::var_os(variable).ok_or_else(|| {
                Error::not_found(format!("{place}: it is not set")).hint("set it where the host is started")
            })?;
            (value.into_string().map_err(|_| Error::invalid(format!("{place}: it is not UTF-8")))?, place)
        }
        SecretSource::File(path) => {
            let place = format!("secret `{name}`, file {}", path.display());
            let io = |e| Error::io(&place, e).hint("put the secret there, readable for the host's user only");
            let mut bytes = Vec::new();
            std::fs::File::open(path)
                .map_err(io)?
                .take(SECRET_BYTES_MAX + 1)
                .read_to_end(&mut bytes)
                .map_err(io)?;
            (
                String::from_utf8(bytes).map_err(|_| Error::invalid(format!("{place}: it is not UTF-8")))?,
                place,
            )
        }
    };
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(Error::limit(
            place,
            format!("{SECRET_BYTES_MAX} bytes"),
            "a secret is a short text: check the path",
        ));
    }
    let value = text.trim_end_matches(['\n', '\r']);
    if value.is_empty() {
        return Err(Error::invalid(format!("{place}: it is empty")).hint("put the secret there"));
    }
    Ok(value.to_string())
}
