//! `[plugins.NAME.config]`, checked again here: the schema in `plugin.toml` cannot say everything.

use serde::Deserialize;

const MIB: u64 = 1024 * 1024;
/// S3 takes no smaller part but the last.
pub const PART_MIB_MIN: u64 = 5;
/// A part is held in the plugin's memory.
pub const PART_MIB_MAX: u64 = 64;
const PART_MIB: u64 = 8;
/// Longer keys S3 does not take; the name needs some of it.
const PREFIX_BYTES_MAX: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Style {
    Path,
    Virtual,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    endpoint: String,
    bucket: String,
    region: String,
    prefix: Option<String>,
    style: Option<Style>,
    part_mib: Option<u64>,
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `https://host[:port]`, with the bucket in it if the style is virtual-hosted.
    pub base: String,
    /// What the header `host` says.
    pub host: String,
    /// `/bucket` if the style is path, else empty.
    pub bucket_path: String,
    pub region: String,
    /// Before every name; empty, or ending with a slash.
    pub prefix: String,
    /// Bytes of a part; what is larger is uploaded in parts.
    pub part_size: usize,
    /// Names of secrets.
    pub access_key: String,
    pub secret_key: String,
    pub session_token: Option<String>,
}

impl Config {
    /// The configuration from its JSON, or the sentence that the operator reads.
    pub fn parse(json: &str) -> Result<Self, String> {
        let raw: Raw =
            serde_json::from_str(json).map_err(|e| format!("the configuration cannot be read: {e}"))?;
        let (scheme, authority) = raw
            .endpoint
            .split_once("://")
            .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
            .ok_or("`endpoint` must begin with https:// or http://")?;
        let authority = authority.strip_suffix('/').unwrap_or(authority).to_ascii_lowercase();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if authority.is_empty() || !authority.chars().all(plain) {
            return Err(
                "`endpoint` must be a scheme, a host and perhaps a port, such as https://s3.example.com"
                    .into(),
            );
        }
        // Clients leave out a scheme's own port; the signature covers the host as it is sent.
        let usual = if scheme == "https" { ":443" } else { ":80" };
        let authority = authority.strip_suffix(usual).unwrap_or(&authority);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
        if !(3..=63).contains(&raw.bucket.len())
            || !raw.bucket.chars().all(plain)
            || raw.bucket.starts_with('.')
        {
            return Err("`bucket` must have 3 to 63 of a-z 0-9 . - and begin with no dot".into());
        }
        let (host, bucket_path) = match raw.style.unwrap_or(Style::Path) {
            Style::Path => (authority.to_string(), format!("/{}", raw.bucket)),
            Style::Virtual => (format!("{}.{authority}", raw.bucket), String::new()),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if raw.region.is_empty() || !raw.region.chars().all(plain) {
            return Err("`region` must have a-z 0-9 - only, such as us-east-1".into());
        }
        let mut prefix = raw.prefix.unwrap_or_default();
        if prefix.ends_with('/') {
            prefix.pop();
        }
        if !prefix.is_empty() {
            check_name(&prefix, PREFIX_BYTES_MAX).map_err(|e| format!("`prefix` {e}"))?;
            prefix.push('/');
        }
        let part = raw.part_mib.unwrap_or(PART_MIB);
        let part_size = usize::try_from(part.saturating_mul(MIB))
            .ok()
            .filter(|_| (PART_MIB_MIN..=PART_MIB_MAX).contains(&part))
            .ok_or_else(|| format!("`part_mib` must be from {PART_MIB_MIN} to {PART_MIB_MAX}"))?;
        Ok(Self {
            base: format!("{scheme}://{host}"),
            host,
            bucket_path,
            region: raw.region,
            prefix,
            part_size,
            access_key: raw.access_key,
            secret_key: raw.secret_key,
            session_token: raw.session_token,
        })
    }
}

/// Segments such as `..` are refused because clients and servers on the way resolve them, control characters because XML
/// cannot list them.
pub fn check_name(name: &str, bytes_max: usize) -> Result<(), String> {
    if name.is_empty() || name.len() > bytes_max {
        return Err(format!("must have 1 to {bytes_max} bytes, it has {}", name.len()));
    }
    if name.chars().any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')) {
        return Err("holds a control character".into());
    }
    if name.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("holds an empty segment, `.` or `..`".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> Result<Config, String> {
        let mut config = serde_json::json!({
            "endpoint": "https://s3.example.com", "bucket": "backups", "region": "eu-central-1",
            "access_key": "a", "secret_key": "s"
        });
        config[key] = serde_json::from_str(value).unwrap();
        Config::parse(&config.to_string())
    }

    #[test]
    fn styles_and_hosts() {
        let config = with("endpoint", "\"https://S3.example.com:443/\"").unwrap();
        assert_eq!(
            (config.base.as_str(), config.host.as_str()),
            ("https://s3.example.com", "s3.example.com")
        );
        assert_eq!((config.bucket_path.as_str(), config.part_size), ("/backups", 8 << 20));
        let config = with("style", "\"virtual\"").unwrap();
        assert_eq!((config.host.as_str(), config.bucket_path.as_str()), ("backups.s3.example.com", ""));
        assert_eq!(with("endpoint", "\"http://127.0.0.1:443\"").unwrap().host, "127.0.0.1:443");
        assert_eq!(with("prefix", "\"a/b\"").unwrap().prefix, "a/b/");
        assert_eq!(with("prefix", "\"a/\"").unwrap().prefix, "a/");
        assert_eq!(with("prefix", "\"\"").unwrap().prefix, "");
    }

    #[test]
    fn a_wrong_configuration_is_named() {
        for (key, value, words) in [
            ("endpoint", "\"s3.example.com\"", "`endpoint` must begin"),
            ("endpoint", "\"https://u@h\"", "`endpoint` must be"),
            ("endpoint", "\"https://h/path\"", "`endpoint` must be"),
            ("bucket", "\"ab\"", "`bucket`"),
            ("bucket", "\"a/b\"", "`bucket`"),
            ("region", "\"\"", "`region`"),
            ("prefix", "\"a/../b\"", "`prefix` holds"),
            ("part_mib", "4", "`part_mib` must be from 5 to 64"),
            ("part_mib", "65", "`part_mib` must be"),
            ("part_mib", "18446744073709551615", "`part_mib` must be"),
            ("other", "1", "unknown field `other`"),
        ] {
            let error = with(key, value).unwrap_err();
            assert!(error.contains(words), "{key} = {value}: {error}");
        }
        assert_eq!(with("part_mib", "5").unwrap().part_size, 5 << 20);
        assert_eq!(with("part_mib", "64").unwrap().part_size, 64 << 20);
    }

    #[test]
    fn names() {
        assert!(check_name(&"a".repeat(9), 9).is_ok());
        assert!(check_name(&"a".repeat(10), 9).unwrap_err().contains("it has 10"));
        for name in ["", "/a", "a/", "a//b", ".", "a/..", "a\nb", "a\u{7f}"] {
            assert!(check_name(name, 9).is_err(), "{name:?}");
        }
        assert!(check_name("a/..b/é %", 99).is_ok());
    }
}
