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

/// The address of a plan without actions: memory is zero at first.
pub(super) const EMPTY: &str = "(i32.const 16)";

/// What a component imports beside nothing, by the name that bodies call it by.
pub(super) const LOG: &str = r#"(import "shiphold:host/log@0.1.0" "write" (func $log (param i32 i32 i32)))"#;
pub(super) const CONFIG: &str = r#"(import "shiphold:host/config@0.1.0" "get" (func $config (param i32)))"#;
pub(super) const GAUGE: &str =
    r#"(import "shiphold:host/metrics@0.1.0" "gauge" (func $gauge (param i32 i32 f64 i32)))"#;
pub(super) const CLOCK: &str = r#"(import "shiphold:host/clock@0.1.0" "now" (func $now (result i64)))"#;
pub(super) const RANDOM: &str =
    r#"(import "shiphold:host/random@0.1.0" "bytes" (func $random (param i32 i32)))"#;
pub(super) const NEXT: &str = r#"(import "shiphold:host/retention-types@0.1.0" "[method]cursor.next" (func $next (param i32 i32 i32)))"#;
pub(super) const DROP_CURSOR: &str =
    r#"(import "shiphold:host/retention-types@0.1.0" "[resource-drop]cursor" (func $drop (param i32)))"#;
pub(super) const LIST: &str = r#"(import "shiphold:host/series@0.1.0" "list"
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
                (func $plan (export "shiphold:host/retention-policy@0.1.0#plan") (param $cursor i32) (param $now i64) (result i32)
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

/// Appends a plugin.toml as a custom section.
pub(super) fn with_about(mut component: Vec<u8>, text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    leb(&mut body, crate::descriptor::SECTION.len());
    body.extend(crate::descriptor::SECTION.as_bytes());
    body.extend(text.as_bytes());
    component.push(0);
    leb(&mut component, body.len());
    component.extend(body);
    component
}

fn leb(out: &mut Vec<u8>, mut n: usize) {
    loop {
        let byte = u8::try_from(n & 0x7f).unwrap();
        n >>= 7;
        out.push(if n == 0 { byte } else { byte | 0x80 });
        if n == 0 {
            return;
        }
    }
}
