//! `plugin.toml` inside a component, as the custom section in which the host looks for it.

use anyhow::{Context, Result};

/// Where the host looks for the `plugin.toml` of a component.
pub const PLUGIN_SECTION: &str = "shiphold:plugin";

/// Puts the text of `plugin.toml` into a component and checks the whole.
pub fn embed(component: &mut Vec<u8>, plugin_toml: &str) -> Result<()> {
    toml::from_str::<toml::Table>(plugin_toml).context("in plugin.toml")?;
    append(component, PLUGIN_SECTION, plugin_toml.as_bytes())?;
    wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::default())
        .validate_all(component)
        .context("checking the component")?;
    Ok(())
}

/// Adds a custom section: id 0, length, length of the name, name, bytes.
fn append(component: &mut Vec<u8>, name: &str, bytes: &[u8]) -> Result<()> {
    let mut body = Vec::new();
    leb128(&mut body, u32::try_from(name.len())?);
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(bytes);
    component.push(0);
    leb128(component, u32::try_from(body.len())?);
    component.append(&mut body);
    Ok(())
}

/// An unsigned number, seven bits a byte, the lowest first.
fn leb128(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_seven_bits_a_byte() {
        for (value, want) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (624_485, &[0xe5, 0x8e, 0x26]),
            (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut out = Vec::new();
            leb128(&mut out, value);
            assert_eq!(out, want, "{value}");
        }
    }

    #[test]
    fn a_section_is_read_back() {
        let text = "name = \"x\"\n".to_string() + &"# more\n".repeat(50);
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        embed(&mut component, &text).unwrap();
        let found: Vec<(String, Vec<u8>)> = wasmparser::Parser::new(0)
            .parse_all(&component)
            .filter_map(|payload| match payload.unwrap() {
                wasmparser::Payload::CustomSection(s) => Some((s.name().to_string(), s.data().to_vec())),
                _ => None,
            })
            .collect();
        assert_eq!(found, [(PLUGIN_SECTION.to_string(), text.into_bytes())]);
    }

    #[test]
    fn what_is_no_toml_or_no_component_is_refused() {
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        assert!(embed(&mut component, "name =").unwrap_err().to_string().contains("plugin.toml"));
        assert!(embed(&mut b"garbage".to_vec(), "").unwrap_err().to_string().contains("component"));
    }
}
