//! Random core modules with the imports and exports of a world, wrapped as components of it.

use super::super::guest::try_componentise;
use super::mutate::Random;
use super::with_grants;
use arbitrary::Unstructured;
use shiphold_storage::manifest::World;

/// Bytes of chance that a module is made of.
const CHANCE_BYTES: usize = 8 << 10;

/// What the core module of a world has to import and export, as a module.
fn shape(world: World, random: &mut Random) -> Vec<u8> {
    let mut imports = String::new();
    let mut maybe = |import: &str| {
        if random.below(2) == 0 {
            imports.push_str(import);
        }
    };
    maybe(r#"(import "shiphold:host/log@0.1.2" "write" (func (param i32 i32 i32)))"#);
    maybe(r#"(import "shiphold:host/config@0.1.2" "get" (func (param i32)))"#);
    maybe(r#"(import "shiphold:host/metrics@0.1.2" "gauge" (func (param i32 i32 f64 i32)))"#);
    if world == World::RetentionPolicy {
        maybe(r#"(import "shiphold:host/random@0.1.2" "bytes" (func (param i32 i32)))"#);
        maybe(
            r#"(import "shiphold:host/retention-types@0.1.2" "[method]cursor.next" (func (param i32 i32 i32)))"#,
        );
        maybe(r#"(import "shiphold:host/retention-types@0.1.2" "[resource-drop]cursor" (func (param i32)))"#);
    }
    let function = |name: &str, params: &str| {
        let world = world.name();
        format!(
            "(func (export \"shiphold:host/{world}@0.1.2#{name}\") (param {params}) (result i32) unreachable)
             (func (export \"cabi_post_shiphold:host/{world}@0.1.2#{name}\") (param i32))"
        )
    };
    let exports = match world {
        World::RetentionPolicy => function("plan", "i32 i64"),
        World::SkillIndexer => function("index", &"i32 ".repeat(14)) + &function("expand", "i32 i32"),
        World::QueryBuilder | World::BackupTarget => {
            function("describe", "")
                + &function("build", "i32 i32 i32 i32")
                + &function("transform", &"i32 ".repeat(9))
        }
    };
    let text = format!(
        "(module {imports} (memory (export \"memory\") 1) {exports}
            (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable))"
    );
    wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// A component of the world around a random module, or the module itself where it cannot be wrapped.
pub(super) fn component(world: World, random: &mut Random) -> Vec<u8> {
    let config = wasm_smith::Config {
        module_shape: Some(shape(world, random)),
        allow_start_export: random.below(4) == 0,
        bulk_memory_enabled: true,
        reference_types_enabled: true,
        simd_enabled: random.below(2) == 0,
        tail_call_enabled: random.below(2) == 0,
        multi_value_enabled: true,
        // Off in this host; the one in eight that has them is to be refused in words.
        gc_enabled: random.below(8) == 0,
        exceptions_enabled: random.below(8) == 0,
        threads_enabled: random.below(8) == 0,
        memory64_enabled: random.below(8) == 0,
        wide_arithmetic_enabled: false,
        compact_imports_enabled: false,
        max_memories: 1 + usize::from(random.below(8) == 0),
        max_tables: 1 + usize::from(random.below(8) == 0),
        max_memory32_bytes: 1 << (16 + random.below(9)),
        max_table_elements: 20_000,
        max_instructions: 50 + random.below(500),
        max_funcs: 20,
        ..wasm_smith::Config::default()
    };
    let chance = random.bytes(CHANCE_BYTES);
    let core = match wasm_smith::Module::new(config, &mut Unstructured::new(&chance)) {
        Ok(module) => module.to_bytes(),
        Err(_) => return chance,
    };
    match try_componentise(core.clone(), world.name()) {
        Ok(component) => with_grants(component, world),
        Err(_) => core,
    }
}
