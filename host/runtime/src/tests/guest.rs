//! Components written as text: a core module whose `plan` has a given body, encoded against the WIT package.

use std::path::Path;
use std::sync::OnceLock;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

fn package() -> &'static (Resolve, wit_parser::PackageId) {
    static PACKAGE: OnceLock<(Resolve, wit_parser::PackageId)> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let mut resolve = Resolve::default();
        let (id, _) = resolve.push_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")).unwrap();
        (resolve, id)
    })
}

/// The version that the imports and exports below name.
const VERSION: &str = "0.1.2";

/// A version as it was published.
fn published(version: &str) -> (Resolve, wit_parser::PackageId) {
    let mut resolve = Resolve::default();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../wit/published/{version}.wit"));
    let id = resolve.push_file(&path).unwrap_or_else(|e| panic!("{}: {e:#}", path.display()));
    (resolve, id)
}

/// A component of a world as it was in a published version: it imports all that the world has, and does nothing but trap.
pub(super) fn dummy_of(version: &str, world: &str) -> Vec<u8> {
    let (resolve, id) = published(version);
    let world = resolve.select_world(&[id], Some(world)).unwrap();
    let mut core = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default().validate(true).module(&core).unwrap().encode().unwrap()
}

/// The address of a plan without actions: memory is zero at first.
pub(super) const EMPTY: &str = "(i32.const 16)";

/// What a component imports beside nothing, by the name that bodies call it by.
pub(super) const LOG: &str = r#"(import "shiphold:host/log@0.1.2" "write" (func $log (param i32 i32 i32)))"#;
pub(super) const CONFIG: &str = r#"(import "shiphold:host/config@0.1.2" "get" (func $config (param i32)))"#;
pub(super) const GAUGE: &str =
    r#"(import "shiphold:host/metrics@0.1.2" "gauge" (func $gauge (param i32 i32 f64 i32)))"#;
pub(super) const CLOCK: &str = r#"(import "shiphold:host/clock@0.1.2" "now" (func $now (result i64)))"#;
pub(super) const RANDOM: &str =
    r#"(import "shiphold:host/random@0.1.2" "bytes" (func $random (param i32 i32)))"#;
pub(super) const NEXT: &str = r#"(import "shiphold:host/retention-types@0.1.2" "[method]cursor.next" (func $next (param i32 i32 i32)))"#;
pub(super) const DROP_CURSOR: &str =
    r#"(import "shiphold:host/retention-types@0.1.2" "[resource-drop]cursor" (func $drop (param i32)))"#;
pub(super) const LIST: &str = r#"(import "shiphold:host/series@0.1.2" "list"
    (func $list (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;

/// A retention policy.
pub(super) struct Guest {
    pub imports: Vec<&'static str>,
    /// Other fields of the module: memories, tables, globals, data.
    pub fields: &'static str,
    /// Leaves the address of the result: parameters are `$cursor` and `$now`.
    pub body: &'static str,
    /// Its plugin.toml, if it has one; `name`, `version` and `world` are put before it.
    pub about: Option<&'static str>,
}

impl Guest {
    pub(super) fn new(body: &'static str) -> Self {
        Self { imports: Vec::new(), fields: "(memory (export \"memory\") 2)", body, about: Some("") }
    }

    pub(super) fn imports(mut self, imports: &[&'static str]) -> Self {
        self.imports = imports.into();
        self
    }

    pub(super) fn fields(mut self, fields: &'static str) -> Self {
        self.fields = fields;
        self
    }

    pub(super) fn about(mut self, about: impl Into<Option<&'static str>>) -> Self {
        self.about = about.into();
        self
    }

    /// The core module.
    pub(super) fn core(&self) -> Vec<u8> {
        let text = format!(
            r#"(module
                {imports}
                {fields}
                (global $free (mut i32) (i32.const 65536))
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                    (global.set $free (i32.add (local.get $at) (local.get 3)))
                    (local.get $at))
                (func $plan (export "shiphold:host/retention-policy@0.1.2#plan") (param $cursor i32) (param $now i64) (result i32)
                    {body}))"#,
            imports = self.imports.join("\n"),
            fields = self.fields,
            body = self.body
        );
        wat::parse_str(text).unwrap_or_else(|e| panic!("{e}"))
    }

    pub(super) fn build(&self) -> Vec<u8> {
        let mut core = self.core();
        let component = encode(&mut core, "retention-policy-plugin");
        match self.about {
            Some(about) => with_about(
                component,
                &format!("name = \"p\"\nversion = \"1.2.3\"\nworld = \"retention-policy\"\n{about}"),
            ),
            None => component,
        }
    }
}

/// A component of a world that does nothing but trap.
pub(super) fn dummy(world: &str) -> Vec<u8> {
    let (resolve, id) = package();
    let world_id = resolve.select_world(&[*id], Some(world)).unwrap();
    let mut core = dummy_module(resolve, world_id, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    encode(&mut core, world)
}

fn encode(core: &mut Vec<u8>, world: &str) -> Vec<u8> {
    let (resolve, id) = package();
    let world = resolve.select_world(&[*id], Some(world)).unwrap();
    embed_component_metadata(core, resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default().validate(true).module(core).unwrap().encode().unwrap()
}

/// The custom section of a plugin.toml; spelt out, because the scenarios build components with this file too.
const SECTION: &str = "shiphold:plugin";

/// Appends a plugin.toml as a custom section.
pub(super) fn with_about(mut component: Vec<u8>, text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    leb(&mut body, SECTION.len());
    body.extend(SECTION.as_bytes());
    body.extend(text.as_bytes());
    component.push(0);
    leb(&mut component, body.len());
    component.extend(body);
    component
}

pub(super) fn leb(out: &mut Vec<u8>, mut n: usize) {
    loop {
        let byte = u8::try_from(n & 0x7f).unwrap();
        n >>= 7;
        out.push(if n == 0 { byte } else { byte | 0x80 });
        if n == 0 {
            return;
        }
    }
}

/// A core module of any world, written as text, and what becomes of it.
pub(super) struct Wat {
    /// `retention-policy`, `skill-indexer`, `query-builder`.
    pub world: &'static str,
    pub imports: String,
    /// Memories, tables, globals, data, a start.
    pub fields: String,
    /// The body of `cabi_realloc`; its parameters are `$old`, `$had`, `$align` and `$size`.
    pub realloc: String,
    pub functions: String,
    pub about: String,
}

/// Memory that is given out once, from 64 KiB on.
pub(super) const BUMP: &str = "(local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at)";

impl Wat {
    /// A retention policy whose `plan` is `body`, with two pages of memory.
    pub(super) fn policy(body: impl Into<String>) -> Self {
        Self::new("retention-policy").function("plan", "(param $cursor i32) (param $now i64)", &body.into())
    }

    pub(super) fn new(world: &'static str) -> Self {
        Self {
            world,
            imports: String::new(),
            fields: "(memory (export \"memory\") 2)".into(),
            realloc: BUMP.into(),
            functions: String::new(),
            about: String::new(),
        }
    }

    /// Adds an export of the world that gives back an address.
    pub(super) fn function(mut self, name: &str, params: &str, body: &str) -> Self {
        let world = self.world;
        self.functions.push_str(&format!(
            "(func ${name} (export \"shiphold:host/{world}@0.1.2#{name}\") {params} (result i32) {body})\n"
        ));
        self
    }

    /// Adds what is called after the host took the result of `name`.
    pub(super) fn post_return(mut self, name: &str, body: &str) -> Self {
        let world = self.world;
        self.functions.push_str(&format!(
            "(func (export \"cabi_post_shiphold:host/{world}@0.1.2#{name}\") (param i32) {body})\n"
        ));
        self
    }

    pub(super) fn import(mut self, import: &str) -> Self {
        self.imports.push_str(import);
        self
    }

    pub(super) fn fields(mut self, fields: impl Into<String>) -> Self {
        self.fields = fields.into();
        self
    }

    pub(super) fn realloc(mut self, body: &str) -> Self {
        self.realloc = body.into();
        self
    }

    /// What follows name, version and world in its plugin.toml.
    pub(super) fn about(mut self, about: &str) -> Self {
        self.about = about.into();
        self
    }

    /// [`Wat::build`] against a version as it was published.
    pub(super) fn build_at(&self, version: &str) -> Vec<u8> {
        let at = |text: &str| text.replace(&format!("@{VERSION}"), &format!("@{version}"));
        let then = Self {
            imports: at(&self.imports),
            functions: at(&self.functions),
            fields: self.fields.clone(),
            realloc: self.realloc.clone(),
            about: self.about.clone(),
            world: self.world,
        };
        let mut core = then.core();
        let (resolve, id) = published(version);
        let world = resolve.select_world(&[id], Some(&format!("{}-plugin", self.world))).unwrap();
        embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8, false).unwrap();
        let component = ComponentEncoder::default().validate(true).module(&core).unwrap().encode().unwrap();
        described(component, self.world, &self.about)
    }

    pub(super) fn core(&self) -> Vec<u8> {
        let Self { imports, fields, realloc, functions, .. } = self;
        let text = format!(
            "(module {imports} {fields} (global $free (mut i32) (i32.const 65536))
                (func $realloc (export \"cabi_realloc\")
                    (param $old i32) (param $had i32) (param $align i32) (param $size i32) (result i32) {realloc})
                {functions})"
        );
        wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    pub(super) fn build(&self) -> Vec<u8> {
        described(componentise(self.core(), self.world), self.world, &self.about)
    }
}

/// A core module as a component of a world, or why it cannot be one.
pub(super) fn try_componentise(mut core: Vec<u8>, world: &str) -> Result<Vec<u8>, String> {
    let (resolve, id) = package();
    let world = resolve.select_world(&[*id], Some(&format!("{world}-plugin"))).unwrap();
    embed_component_metadata(&mut core, resolve, world, StringEncoding::UTF8, false)
        .map_err(|e| format!("{e:#}"))?;
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(&core).and_then(|e| e.encode()).map_err(|e| format!("{e:#}"))
}

fn componentise(core: Vec<u8>, world: &str) -> Vec<u8> {
    try_componentise(core, world).unwrap_or_else(|e| panic!("{e}"))
}

/// With a plugin.toml that says what is needed, and `about`.
pub(super) fn described(component: Vec<u8>, world: &str, about: &str) -> Vec<u8> {
    with_about(component, &format!("name = \"p\"\nversion = \"1.2.3\"\nworld = \"{world}\"\n{about}"))
}
