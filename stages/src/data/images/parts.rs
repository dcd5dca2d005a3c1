//! What the parts of a data set are called, where they do not have the usual names.

use std::path::{Component, Path, PathBuf};

use flow::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The folder or the CSV file of each split, below `path`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Parts {
    /// That of the images to train on; `train` or `train.csv` if absent.
    pub train: Option<PathBuf>,
    /// That of the images to validate on; without it, `validation` keeps back a share of those to
    /// train on.
    pub validation: Option<PathBuf>,
    /// That of the images to test with; `test` or `test.csv` if absent.
    pub test: Option<PathBuf>,
}

impl Parts {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn all(&self) -> [(&'static str, Option<&Path>); 3] {
        [
            ("train", self.train.as_deref()),
            ("validation", self.validation.as_deref()),
            ("test", self.test.as_deref()),
        ]
    }
}

/// What is wrong with the names: two splits of the same images.
pub(super) fn check(folders: &Parts, lists: &Parts) -> Vec<Mismatch> {
    let mut wrong = Vec::new();
    // A list says which files of a folder are meant; two may share one.
    let names = |field, parts: &Parts, without: Option<&Parts>| {
        let listed = |split: &str| {
            let all = without.map(Parts::all);
            all.is_some_and(|all| all.iter().any(|(name, list)| *name == split && list.is_some()))
        };
        let named = parts.all().into_iter().filter_map(|(split, path)| Some((split, path?)));
        let named = named.filter(|(split, _)| !listed(split));
        named.map(|(split, path)| (field, split, plain(path))).collect::<Vec<_>>()
    };
    for named in [names("folders", folders, Some(lists)), names("lists", lists, None)] {
        for (at, (field, split, path)) in named.iter().enumerate() {
            if let Some((_, other, _)) = named[..at].iter().find(|(_, _, before)| before == path) {
                let message = format!(
                    "`{}` is named for `{other}` and for `{split}`: the same images would be in both",
                    path.display()
                );
                wrong.push(
                    Mismatch::field(&format!("{field}.{split}"), message)
                        .help("name another, or keep back a share with `validation: 0.1`"),
                );
            }
        }
    }
    wrong
}

/// A path without `.` in it.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_of_one_split() {
        let parts = |text: &str| serde_json::from_str::<Parts>(text).expect("right");
        let none = Parts::default();
        let two = parts(r#"{"train": "all", "test": "./all/"}"#);
        let wrong = check(&two, &none);
        assert_eq!(wrong[0].field, ["folders", "test"]);
        assert!(wrong[0].message.contains("`train` and for `test`"), "{}", wrong[0].message);
        assert_eq!(check(&none, &two)[0].field, ["lists", "test"]);
        let lists = parts(r#"{"train": "a.csv", "test": "b.csv"}"#);
        assert_eq!(check(&two, &lists), []);
        assert_eq!(check(&parts(r#"{"train": "a", "validation": "b"}"#), &none), []);
    }
}
