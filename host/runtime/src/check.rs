//! What can be said of the plugins of a manifest without compiling anything.

use crate::descriptor::Descriptor;
use crate::host::wasi;
use crate::inspect::{Inspection, inspect_bytes, read, sha256};
use crate::text::printable;
use shiphold_storage::json_schema;
use shiphold_storage::manifest::Plugin;
use shiphold_storage::units::ByteSize;
use shiphold_storage::{Error, Grants, Manifest, Result};

/// Interfaces that every world has and that need no grant.
const ALWAYS: [&str; 6] = ["types", "config", "log", "metrics", "retention-types", "state-types"];

/// Bytes of an import's name that are told.
const NAME_BYTES_MAX: usize = 200;

/// Every problem of every plugin: the manifest's key and a sentence.
pub fn check(manifest: &Manifest) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for plugin in manifest.plugins.values() {
        match examine(plugin, manifest.limits.plugins.component_max) {
            Ok(_) => {}
            Err(problems) => out.extend(problems),
        }
    }
    out
}

/// A component that fits its place in the manifest.
#[derive(Debug)]
pub(crate) struct Examined {
    pub bytes: Vec<u8>,
    pub inspection: Inspection,
    pub descriptor: Descriptor,
    /// Asked and given.
    pub grants: Grants,
    /// The name of the key that signed it, where the manifest asks for a signature.
    pub signed_by: Option<String>,
}

pub(crate) fn examine(
    plugin: &Plugin,
    component_max: ByteSize,
) -> std::result::Result<Examined, Vec<(String, String)>> {
    let key = |k: &str| format!("plugins.{}.{k}", plugin.name);
    let one = |k: &str, e: &Error| {
        let hint = e.hint_text().map_or_else(String::new, |h| format!(" ({h})"));
        vec![(key(k), format!("{}{hint}", e.message()))]
    };
    let bytes = read(&plugin.component, component_max).map_err(|e| one("component", &e))?;
    let digest = sha256(&bytes);
    if plugin.sha256.as_ref().is_some_and(|pin| *pin != digest) {
        return Err(vec![(
            key("sha256"),
            format!(
                "{} has the SHA-256 {digest}, not the pinned one: it was changed, or the pin is of another build",
                plugin.component.display()
            ),
        )]);
    }
    let signed_by = crate::signature::verify(plugin, &bytes).map_err(|e| one("signed_by", &e))?;
    let inspection =
        inspect_bytes(&bytes).map_err(|e| one("component", &e.context(plugin.component.display())))?;
    let mut problems = Vec::new();
    if inspection.world.as_deref() != Some(plugin.world.name()) {
        let is = inspection
            .world
            .as_deref()
            .map_or_else(|| "exports none of the worlds of shiphold:host".into(), |w| format!("is a `{w}`"));
        problems.push((
            key("world"),
            format!("{} {is}; the manifest says `{}`", plugin.component.display(), plugin.world.name()),
        ));
    }
    let Some(descriptor) = inspection.plugin.clone() else {
        problems.push((
            key("component"),
            format!(
                "{} carries no plugin.toml: nothing says what it asks for (docs/plugins.md)",
                plugin.component.display()
            ),
        ));
        return Err(problems);
    };
    if descriptor.world != plugin.world.name() {
        problems.push((
            key("world"),
            format!(
                "the component's plugin.toml says `{}`, the manifest `{}`",
                descriptor.world,
                plugin.world.name()
            ),
        ));
    }
    let asked = descriptor.asked();
    let grants = Grants::intersect(&asked, &plugin.grants);
    problems
        .extend(not_granted(&inspection.imports, &grants, &asked).into_iter().map(|p| (key("grants"), p)));
    problems.extend(json_schema::validate(&descriptor.config, &plugin.config).into_iter().map(|p| {
        match p.split_once(": ") {
            Some((at, text)) => (key(&format!("config.{at}")), text.to_string()),
            None => (key("config"), p),
        }
    }));
    if problems.is_empty() {
        Ok(Examined { bytes, inspection, descriptor, grants, signed_by })
    } else {
        Err(problems)
    }
}

/// Each import beyond the grants, with what is missing on which side.
fn not_granted(imports: &[String], grants: &Grants, asked: &Grants) -> Vec<String> {
    let missing = |grant: &str, has: bool, asks: bool| {
        if has {
            None
        } else if asks {
            Some(format!("it imports `{grant}` and asks for it, but the manifest does not grant it"))
        } else {
            Some(format!("it imports `{grant}` without asking for it in its plugin.toml"))
        }
    };
    imports
        .iter()
        .filter_map(|import| {
            let import = printable(import, NAME_BYTES_MAX);
            let Some(rest) = import.strip_prefix("shiphold:host/") else {
                return match (wasi::has(&import), grants.wasi, asked.wasi) {
                    (true, true, _) => None,
                    (true, false, true) => Some(format!("it imports `{import}` and asks for `wasi`, but the manifest does not grant it")),
                    (true, false, false) => Some(format!("it imports `{import}` without asking for `wasi` in its plugin.toml; a guest built for wasm32-unknown-unknown needs none")),
                    (false, ..) => Some(format!("it imports `{import}`, which this host does not have")),
                };
            };
            match rest.split('@').next().unwrap_or(rest) {
                name if ALWAYS.contains(&name) => None,
                "clock" => missing("clock", grants.clock, asked.clock),
                "random" => missing("random", grants.random, asked.random),
                "series" => {
                    let any = |g: &Grants| !g.series_read.is_empty() || !g.series_write.is_empty();
                    missing("series", any(grants), any(asked))
                }
                "skills" => missing("skills", grants.skills_read, asked.skills_read),
                "settings" => missing("settings", !grants.settings_read.is_empty(), !asked.settings_read.is_empty()),
                "files" => {
                    let any = |g: &Grants| {
                        !(g.files_read.is_empty() && g.files_write.is_empty() && g.files_delete.is_empty())
                    };
                    missing("files", any(grants), any(asked))
                }
                "state" => {
                    let any = |g: &Grants| !g.state_read.is_empty() || !g.state_write.is_empty();
                    missing("state", any(grants), any(asked))
                }
                "logs" => missing("logs", !grants.logs_read.is_empty(), !asked.logs_read.is_empty()),
                "trades" => missing("trades", grants.trades(), asked.trades()),
                "commits" => missing("commits", grants.commits, asked.commits),
                "http" => missing("http", !grants.http.is_empty(), !asked.http.is_empty()),
                "secrets" => missing("secrets", !grants.secrets.is_empty(), !asked.secrets.is_empty()),
                name => Some(format!("it imports `{name}`, which is not an import of its world")),
            }
        })
        .collect()
}

/// The same as one error, for loading.
pub(crate) fn as_error(problems: &[(String, String)]) -> Error {
    let lines: Vec<String> = problems.iter().map(|(k, m)| format!("{k}: {m}")).collect();
    Error::invalid(lines.join("\n")).hint("`shiphold check` shows the same with line numbers")
}

/// [`examine`] with one error.
pub(crate) fn examine_or_error(plugin: &Plugin, component_max: ByteSize) -> Result<Examined> {
    examine(plugin, component_max).map_err(|p| as_error(&p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_beyond_the_grants_are_all_listed() {
        let names: Vec<String> = [
            "shiphold:host/types@0.1.0",
            "shiphold:host/log@0.1.0",
            "shiphold:host/clock@0.1.0",
            "shiphold:host/random@0.1.0",
            "shiphold:host/series@0.1.0",
            "shiphold:host/http@0.1.0",
            "shiphold:host/state-types@0.1.1",
            "shiphold:host/state@0.1.1",
            "shiphold:host/commits@0.1.1",
            "shiphold:host/trades@0.1.2",
            "wasi:io/poll@0.2.0",
            "other:x/y",
        ]
        .map(String::from)
        .into();
        let asked = Grants { clock: true, commits: true, ..Grants::default() };
        let said = not_granted(&names, &Grants::default(), &asked);
        assert_eq!(said.len(), 9, "{said:#?}");
        assert!(said[4].contains("`state`") && said[4].contains("without asking"), "{said:#?}");
        assert!(said[5].contains("`commits`") && said[5].contains("manifest does not grant"), "{said:#?}");
        assert!(said[6].contains("`trades`") && said[6].contains("without asking"), "{said:#?}");
        assert!(said[0].contains("clock") && said[0].contains("manifest does not grant"));
        assert!(said[1].contains("random") && said[1].contains("without asking"));
        let all = Grants { clock: true, random: true, series_read: vec!["*".into()], ..Grants::default() };
        assert_eq!(not_granted(&names, &all, &all).len(), 6);
        let all = Grants { commits: true, state_read: vec!["*".into()], ..all };
        assert_eq!(not_granted(&names, &all, &all).len(), 4);
        // One of the two is enough; each call is held against its own.
        for some in [
            Grants { trades_read: vec!["a".into()], ..all.clone() },
            Grants { trades_write: vec!["a".into()], ..all },
        ] {
            assert_eq!(not_granted(&names, &some, &some).len(), 3);
        }
    }

    #[test]
    fn wasi_is_one_grant_and_opens_no_other_package() {
        let names: Vec<String> =
            ["wasi:io/poll@0.2.0", "wasi:sockets/tcp@0.2.9", "wasi:http/types@0.2.0", "wasi:nn/graph@0.1.0"]
                .map(String::from)
                .into();
        let wasi = Grants { wasi: true, ..Grants::default() };
        let said = not_granted(&names, &Grants::default(), &Grants::default());
        assert!(
            said.len() == 4 && said[0].contains("wasi:io/poll") && said[0].contains("without asking"),
            "{said:#?}"
        );
        let said = not_granted(&names, &Grants::default(), &wasi);
        assert!(
            said[1].contains("wasi:sockets/tcp") && said[1].contains("manifest does not grant"),
            "{said:#?}"
        );
        let said = not_granted(&names, &wasi, &wasi);
        assert!(said.len() == 2 && said.iter().all(|s| s.contains("does not have")), "{said:#?}");
    }

    #[test]
    fn a_core_module_and_garbage_are_told_apart() {
        assert!(inspect_bytes(b"\0asm\x01\0\0\0").unwrap_err().message().contains("core module"));
        assert!(inspect_bytes(b"garbage").unwrap_err().message().contains("not a valid"));
        assert!(inspect_bytes(b"").is_err());
        let empty = inspect_bytes(b"\0asm\x0d\0\x01\0").unwrap();
        assert_eq!((empty.world, empty.plugin), (None, None));
    }
}
