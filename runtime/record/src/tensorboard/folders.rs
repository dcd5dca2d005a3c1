//! Folders for the curves of stages, by names that are good on every file system.

use std::collections::{HashMap, HashSet};

/// Names of which Windows makes devices in every folder, with an extension as well.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// A folder's name for each stage: its id, unless that is `reserved`, a device on Windows, or the
/// name of an earlier one where capitals make no difference. A number is added then.
pub(crate) fn folders<'a>(
    reserved: &str,
    stages: impl IntoIterator<Item = &'a str>,
) -> HashMap<String, String> {
    let stages: Vec<&str> = stages.into_iter().collect();
    // An id that is good as it is stays, whatever an earlier one might be changed to.
    let mut taken: HashSet<String> = [reserved.to_lowercase()].into();
    let is_kept: Vec<bool> =
        stages.iter().map(|id| !is_device(id) && taken.insert(id.to_lowercase())).collect();
    let mut folders = HashMap::new();
    for (id, is_kept) in stages.into_iter().zip(is_kept) {
        let mut name = id.to_owned();
        let mut number = 2;
        while !is_kept && (name == id || !taken.insert(name.to_lowercase())) {
            name = format!("{id}-{number}");
            number += 1;
        }
        folders.insert(id.to_owned(), name);
    }
    folders
}

fn is_device(id: &str) -> bool {
    let name = id.to_lowercase();
    let port = |kind: &str| {
        name.strip_prefix(kind).is_some_and(|number| {
            number.chars().count() == 1
                && number.chars().all(|c| c.is_ascii_digit() || "¹²³".contains(c))
        })
    };
    DEVICES.contains(&&*name) || port("com") || port("lpt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_a_folder_of_its_own() {
        let names = |stages: &[&str]| -> Vec<String> {
            let folders = folders("train", stages.iter().copied());
            stages.iter().map(|id| folders[*id].clone()).collect()
        };
        assert_eq!(names(&["evaluate", "evaluate_raw"]), ["evaluate", "evaluate_raw"]);
        assert_eq!(names(&["train"]), ["train-2"]);
        assert_eq!(names(&["train", "train-2", "Train"]), ["train-3", "train-2", "Train-4"]);
        assert_eq!(names(&["Evaluate", "evaluate"]), ["Evaluate", "evaluate-2"]);
        assert_eq!(names(&["con", "LPT1", "com", "com10"]), ["con-2", "LPT1-2", "com", "com10"]);
        assert_eq!(names(&["É", "é"]), ["É", "é-2"]);
    }
}
