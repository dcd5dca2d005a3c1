//! The best checkpoint of a run, for those who only read.

use std::path::Path;

use anyhow::Result;

use super::Best;
use super::store::best_file;
use crate::run_folder::read_json;

/// Which checkpoint of a folder is the best; `None` before the first evaluation. Nothing is made or
/// changed.
///
/// # Errors
/// If what was written down about it cannot be read.
pub fn best(folder: &Path) -> Result<Option<Best>> {
    let path = best_file(folder);
    if path.exists() { read_json(&path).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn looking_for_the_best_makes_nothing() {
        let run = tempfile::tempdir().expect("a folder");
        let folder = run.path().join("checkpoints");
        assert_eq!(best(&folder).expect("there is none"), None);
        assert!(!folder.exists());
        fs::create_dir(&folder).expect("it is made");
        let known = Best {
            step: 7,
            file: "step-000000007.safetensors".to_owned(),
            precision_at_1: 0.5,
            chosen_on: "test".to_owned(),
            averaged: true,
            stage: "evaluate".to_owned(),
        };
        let written = serde_json::to_vec(&known).expect("JSON");
        fs::write(best_file(&folder), written).expect("it is written");
        assert_eq!(best(&folder).expect("it is read"), Some(known));
        fs::write(best_file(&folder), "{").expect("it is written");
        let damaged = best(&folder).expect_err("it is damaged").to_string();
        assert!(damaged.ends_with("best.json is damaged"), "{damaged}");
    }
}
