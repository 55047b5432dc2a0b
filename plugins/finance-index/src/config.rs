//! `[plugins.NAME.config]`: phrases that the operator adds. The host has checked them against the schema in `plugin.toml`;
//! what it cannot know, such as which concepts there are, the vocabulary checks.

use serde_json::Value;

/// More phrases for one concept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synonyms {
    pub concept: String,
    pub phrases: Vec<String>,
}

/// The `synonyms` of a configuration, or the sentence that the operator reads.
pub fn synonyms(json: &str) -> Result<Vec<Synonyms>, String> {
    let config: Value =
        serde_json::from_str(json).map_err(|e| format!("the configuration cannot be read: {e}"))?;
    let config = config.as_object().ok_or("the configuration must be an object")?;
    if let Some(key) = config.keys().find(|key| *key != "synonyms") {
        return Err(format!("the index knows no `{key}`; there is synonyms"));
    }
    let Some(entries) = config.get("synonyms") else { return Ok(Vec::new()) };
    let wrong =
        || "`synonyms` must be a list such as [{\"concept\": \"pullback\", \"phrases\": [\"discount\"]}]";
    let entries = entries.as_array().ok_or_else(wrong)?;
    entries.iter().map(|entry| entry_of(entry).ok_or_else(|| wrong().to_string())).collect()
}

fn entry_of(entry: &Value) -> Option<Synonyms> {
    let phrases = entry.get("phrases")?.as_array()?;
    Some(Synonyms {
        concept: entry.get("concept")?.as_str()?.into(),
        phrases: phrases.iter().map(|p| p.as_str().map(Into::into)).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_right() {
        assert_eq!(synonyms("{}"), Ok(vec![]));
        assert_eq!(synonyms(r#"{"synonyms": []}"#), Ok(vec![]));
    }

    #[test]
    fn phrases_are_read_in_order() {
        assert_eq!(
            synonyms(r#"{"synonyms": [{"concept": "pullback", "phrases": ["red day", "Abschlag"]}]}"#),
            Ok(vec![Synonyms {
                concept: "pullback".into(),
                phrases: vec!["red day".into(), "Abschlag".into()]
            }])
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (json, words) in [
            ("", "cannot be read"),
            ("[]", "must be an object"),
            (r#"{"synonym": []}"#, "knows no `synonym`; there is synonyms"),
            (r#"{"synonyms": {}}"#, "must be a list such as"),
            (r#"{"synonyms": ["dip"]}"#, "must be a list such as"),
            (r#"{"synonyms": [{"concept": "pullback"}]}"#, "must be a list such as"),
            (r#"{"synonyms": [{"concept": 1, "phrases": []}]}"#, "must be a list such as"),
            (r#"{"synonyms": [{"concept": "pullback", "phrases": [1]}]}"#, "must be a list such as"),
        ] {
            let error = synonyms(json).unwrap_err();
            assert!(error.contains(words), "{json}: {error}");
        }
        assert!(synonyms(&"[".repeat(100_000)).is_err(), "nesting has an end");
    }
}
