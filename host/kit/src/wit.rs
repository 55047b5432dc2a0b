//! The WIT package itself, so that a project stands on its own.

/// Name and text of each file of the package `shiphold:host`.
pub const FILES: [(&str, &str); 21] = [
    ("backup.wit", include_str!("../../../wit/backup.wit")),
    ("clock.wit", include_str!("../../../wit/clock.wit")),
    ("commits.wit", include_str!("../../../wit/commits.wit")),
    ("config.wit", include_str!("../../../wit/config.wit")),
    ("files.wit", include_str!("../../../wit/files.wit")),
    ("http.wit", include_str!("../../../wit/http.wit")),
    ("indexer.wit", include_str!("../../../wit/indexer.wit")),
    ("log.wit", include_str!("../../../wit/log.wit")),
    ("logs.wit", include_str!("../../../wit/logs.wit")),
    ("metrics.wit", include_str!("../../../wit/metrics.wit")),
    ("query.wit", include_str!("../../../wit/query.wit")),
    ("random.wit", include_str!("../../../wit/random.wit")),
    ("retention.wit", include_str!("../../../wit/retention.wit")),
    ("secrets.wit", include_str!("../../../wit/secrets.wit")),
    ("series.wit", include_str!("../../../wit/series.wit")),
    ("settings.wit", include_str!("../../../wit/settings.wit")),
    ("skills.wit", include_str!("../../../wit/skills.wit")),
    ("state.wit", include_str!("../../../wit/state.wit")),
    ("trades.wit", include_str!("../../../wit/trades.wit")),
    ("types.wit", include_str!("../../../wit/types.wit")),
    ("world.wit", include_str!("../../../wit/world.wit")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_of_the_package_is_forgotten() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| n.ends_with(".wit"))
            .collect();
        there.sort();
        assert_eq!(there, FILES.map(|(name, _)| name.to_string()));
    }
}
