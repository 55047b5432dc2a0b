//! Import of a `skills.json` as Voyager keeps it (MineDojo/Voyager, `skill_library/TRIAL/skill/skills.json`): an object from the name
//! of a function to `{"code", "description"}`.
//!
//! Names become ours (`mineWoodLog` → `mine-wood-log`; the old one stays in the metadata), the description loses the function that
//! Voyager wraps it in, and a call of another function of the file becomes a dependency, so that `resolve` gives the order to load them.

use super::library::{Imported, audit, import_number, unpacked, unreadable};
use super::store::{Skills, skill_id, versions_of};
use super::types::{check_name, shown};
use super::{NewProvenance, NewVersion, Status, Version};
use crate::caller::{Caller, Scope};
use crate::error::{Error, Result};
use crate::layer::DataLayer;
use semver::VersionReq;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufReader, Read};
use unicode_normalization::UnicodeNormalization as _;

/// Bytes of a `skills.json`, unpacked.
pub const VOYAGER_BYTES_MAX: u64 = 64 << 20;
/// Skills of one file.
pub const VOYAGER_SKILLS_MAX: usize = 10_000;
/// What the format is called.
const FORMAT: &str = "voyager";

/// What is said of all skills of a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VoyagerOptions {
    /// Default: `javascript`.
    pub language: Option<String>,
    /// Who wrote them, and in which run.
    pub author: Option<String>,
    pub run: Option<String>,
    /// What they may be used for at first; `active` by default.
    pub status: Option<Status>,
    /// Change nothing; say what would be.
    pub dry_run: bool,
}

#[derive(Debug, Deserialize)]
struct Entry {
    code: String,
    #[serde(default)]
    description: String,
    /// What else a descendant of Voyager keeps there.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// The entries of a file in their order; a name that stands there twice is an error.
#[derive(Debug)]
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object from names to {\"code\", \"description\"}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Entries, A::Error> {
                use serde::de::Error as _;
                let (mut all, mut names) = (Vec::new(), BTreeSet::new());
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("`{}` stands there twice", shown(&name))));
                    }
                    if all.len() == VOYAGER_SKILLS_MAX {
                        return Err(A::Error::custom(format!(
                            "more than {VOYAGER_SKILLS_MAX} skills in one file"
                        )));
                    }
                    all.push((name, map.next_value()?));
                }
                Ok(Entries(all))
            }
        }
        d.deserialize_map(Visit)
    }
}

impl DataLayer {
    /// Takes the skills of a `skills.json` in, all of them or none. What is here with the same content is left; other content
    /// becomes the next version. Audited. `progress` gets what is done and how many, and may cancel.
    pub fn import_voyager(
        &self,
        caller: &Caller,
        input: &mut dyn Read,
        options: &VoyagerOptions,
        progress: &mut dyn FnMut(&str, u64) -> Result<()>,
    ) -> Result<Imported> {
        caller.require(Scope::Write, "import skills")?;
        let mut done = self.skills().voyager(caller, input, options, progress)?;
        self.skills().indexed_after(caller, &mut done, progress);
        Ok(done)
    }
}

impl Skills {
    pub(super) fn voyager(
        &self,
        caller: &Caller,
        input: &mut dyn Read,
        options: &VoyagerOptions,
        progress: &mut dyn FnMut(&str, u64) -> Result<()>,
    ) -> Result<Imported> {
        let text = content(input)?;
        let digest = blake3::hash(&text).to_hex().to_string();
        let (skills, left_out) = skills_of(&text, options)?;
        skills.iter().try_for_each(NewVersion::check)?;
        drop(text);
        self.all_or_nothing(caller, options.dry_run, |tx| {
            let mut done = Imported { format: FORMAT.into(), digest, left_out, ..Imported::default() };
            let import = import_number(tx, caller, FORMAT, &done.digest)?;
            let mut touched = BTreeSet::new();
            for (n, mut new) in skills.into_iter().enumerate() {
                let hash = new.hash();
                let there: Vec<(Version, String)> = versions_of(tx, &new.name)?;
                if there.iter().any(|(_, h)| *h == hash) {
                    done.kept.skills += 1;
                    done.kept.versions += 1;
                    continue;
                }
                new.provenance.import = Some(import);
                Self::put_in(tx, caller, &new, &[])?;
                touched.insert(skill_id(tx, &new.name)?);
                done.added.skills += u64::from(there.is_empty());
                done.kept.skills += u64::from(!there.is_empty());
                done.added.versions += 1;
                progress("importing, in skills", n as u64 + 1)?;
            }
            audit(tx, caller, &done)?;
            Ok((done, touched))
        })
    }
}

fn content(input: &mut dyn Read) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    unpacked(BufReader::new(input))?
        .take(VOYAGER_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .map_err(|e| unreadable(&e, VOYAGER_BYTES_MAX))?;
    if text.len() as u64 > VOYAGER_BYTES_MAX {
        return Err(Error::limit(
            "the skills.json",
            format!("{VOYAGER_BYTES_MAX} bytes"),
            "split it into several files",
        ));
    }
    Ok(text)
}

/// The skills of a file, each behind those that it calls, and what was left out.
fn skills_of(text: &[u8], options: &VoyagerOptions) -> Result<(Vec<NewVersion>, Vec<String>)> {
    let Entries(entries) = serde_json::from_slice(text).map_err(|e| {
        Error::invalid(format!("this is no skills.json of Voyager: {e}"))
            .hint("it is an object from names to {\"code\", \"description\"}; `--format library` reads an export of a host")
    })?;
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (place, (old, _)) in entries.iter().enumerate() {
        let name = ours(old)?;
        if let Some(other) = names.insert(name.clone(), old) {
            return Err(Error::invalid(format!(
                "`{}` and `{}` would both become skill `{name}`",
                shown(other),
                shown(old)
            ))
            .hint("rename one of them in the file"));
        }
        places.insert(old, place);
    }
    let calls: Vec<Vec<usize>> =
        entries.iter().map(|(old, e)| called(&e.code, &places, places.get(old.as_str()).copied())).collect();
    let (order, kept, left_out) = loadable(&entries, &calls);
    let mut skills = Vec::with_capacity(entries.len());
    let mut entries: Vec<Option<(String, Entry)>> = entries.into_iter().map(Some).collect();
    let ours_of: Vec<String> =
        entries.iter().flatten().map(|(old, _)| ours(old)).collect::<Result<Vec<_>>>()?;
    for place in order {
        let Some((old, entry)) = entries.get_mut(place).and_then(Option::take) else { continue };
        let depends = kept.get(place).into_iter().flatten().filter_map(|at| ours_of.get(*at));
        let mut about = entry.rest;
        about.insert("name".into(), json!(old));
        skills.push(NewVersion {
            name: ours_of.get(place).cloned().unwrap_or_default(),
            version: None,
            language: options.language.clone().unwrap_or_else(|| "javascript".into()),
            description: unwrapped(&old, &entry.description),
            code: entry.code,
            tags: Vec::new(),
            metadata: json!({ FORMAT: about }),
            depends: depends.map(|name| (name.clone(), VersionReq::STAR)).collect(),
            status: options.status,
            provenance: NewProvenance {
                author: options.author.clone(),
                run: options.run.clone(),
                ..NewProvenance::default()
            },
        });
    }
    Ok((skills, left_out))
}

/// A name of ours for a name in camel case.
fn ours(old: &str) -> Result<String> {
    let letters: Vec<char> = old.chars().collect();
    let mut name = String::with_capacity(old.len() + 8);
    for (i, c) in letters.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|i| letters.get(i));
        let after = letters.get(i + 1);
        let word_ends = before.is_some_and(|b| b.is_lowercase() || b.is_numeric());
        let initials_end =
            before.is_some_and(|b| b.is_uppercase()) && after.is_some_and(|a| a.is_lowercase());
        if c.is_uppercase() && (word_ends || initials_end) {
            name.push('-');
        }
        match c {
            c if c.is_whitespace() => name.push('-'),
            c => name.extend(c.to_lowercase()),
        }
    }
    let name: String = name.nfc().collect();
    check_name(&name).map_err(|e| e.context(format!("`{}` of the file", shown(old))))?;
    Ok(name)
}

/// The places of the functions of the file that a code calls: their names before a parenthesis, neither as a method nor where one is
/// declared. What stands in a comment is taken for a call, too: one dependency more does no harm.
fn called(code: &str, places: &HashMap<&str, usize>, own: Option<usize>) -> Vec<usize> {
    let mut found = BTreeSet::new();
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let mut at = 0;
    while let Some(begin) = code.get(at..).and_then(|rest| rest.find(part_of_word)).map(|n| at + n) {
        let rest = code.get(begin..).unwrap_or_default();
        let end = begin + rest.find(|c| !part_of_word(c)).unwrap_or(rest.len());
        at = end;
        let (Some(word), Some(after)) = (code.get(begin..end), code.get(end..)) else { break };
        let Some(place) = places.get(word).filter(|p| Some(**p) != own) else { continue };
        let before = code.get(..begin).unwrap_or_default().trim_end();
        let declared = before.ends_with("function") || before.ends_with('.');
        if after.trim_start().starts_with('(') && !declared {
            found.insert(*place);
        }
    }
    found.into_iter().collect()
}

/// An order in which each comes behind those that it calls; the calls that are kept; and those that would close a circle, in words.
fn loadable(entries: &[(String, Entry)], calls: &[Vec<usize>]) -> (Vec<usize>, Vec<Vec<usize>>, Vec<String>) {
    #[derive(Clone, Copy, PartialEq)]
    enum Walk {
        Not,
        Begun,
        Done,
    }
    let mut walks = vec![Walk::Not; entries.len()];
    let mut kept: Vec<Vec<usize>> = vec![Vec::new(); entries.len()];
    let (mut order, mut left_out) = (Vec::with_capacity(entries.len()), Vec::new());
    let name = |at: usize| entries.get(at).map_or("", |(old, _)| old.as_str());
    for first in 0..entries.len() {
        // Place, and which of its calls comes next.
        let mut path = vec![(first, 0)];
        while let Some((at, next)) = path.last_mut() {
            let (here, Some(walk)) = (*at, walks.get_mut(*at)) else { break };
            if *walk == Walk::Done {
                path.pop();
                continue;
            }
            *walk = Walk::Begun;
            let Some(&below) = calls.get(here).and_then(|c| c.get(*next)) else {
                *walk = Walk::Done;
                order.push(here);
                path.pop();
                continue;
            };
            *next += 1;
            match walks.get(below) {
                Some(Walk::Begun) => left_out.push(format!(
                    "`{}` calls `{}`, which leads back to it: this call is no dependency",
                    shown(name(here)),
                    shown(name(below))
                )),
                walked => {
                    if let Some(kept) = kept.get_mut(here) {
                        kept.push(below);
                    }
                    if walked == Some(&Walk::Not) {
                        path.push((below, 0));
                    }
                }
            }
        }
    }
    (order, kept, left_out)
}

/// A description without the function that Voyager wraps it in: `async function NAME(bot) {`, a comment, `}`.
fn unwrapped(name: &str, description: &str) -> String {
    let lines: Vec<&str> = description.trim().lines().collect();
    let wrapped = match lines.as_slice() {
        [first, middle @ .., last] if !middle.is_empty() => {
            let head = first.trim();
            let comments: Option<Vec<&str>> =
                middle.iter().map(|l| l.trim().strip_prefix("//").map(str::trim)).collect();
            let fits = head.starts_with(&format!("async function {name}(")) && head.ends_with('{');
            comments.filter(|_| fits && last.trim() == "}")
        }
        _ => None,
    };
    wrapped.map_or_else(|| description.to_string(), |comments| comments.join(" ").trim().to_string())
}

#[cfg(test)]
mod tests;
