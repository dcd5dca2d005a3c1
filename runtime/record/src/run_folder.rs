//! The folder that a run owns: everything it writes is in there, and nothing else is.

mod held;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use base::regular_file;
use compute::adapter::AdapterReport;
use compute::adapter::several::Several;
use flow::reports::DataReport;

pub use self::held::{Held, RunFolder, Taken, is_at_work, is_taken};
pub use base::whole_file::write_whole;

/// Where runs are kept unless said otherwise.
pub const RUNS: &str = "runs";

const PIPELINE: &str = "pipeline.yaml";

/// What a run is, in `run.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct About {
    /// The version of Gradflow that started it.
    pub program: String,
    /// The command line that started it.
    pub command: Vec<String>,
    /// When, in the form of RFC 3339.
    pub started: String,
    /// The seed that every random number is keyed by.
    pub seed: u64,
    /// The pipeline file as it was named.
    pub pipeline: String,
    /// The folder that relative paths of the pipeline start from.
    #[serde(with = "base::os_path")]
    pub folder: PathBuf,
    /// `--data`, if it was given.
    #[serde(default, with = "base::os_path::optional")]
    pub data_path: Option<PathBuf>,
    /// `--adapter`, if it was given.
    #[serde(default)]
    pub adapter_asked: Option<String>,
    /// What `--adapter` or `--adapters` asked for to train.
    #[serde(default)]
    pub adapters_asked: Option<Several>,
    /// The adapter that trains; the first of several.
    pub adapter: Option<AdapterReport>,
    /// The adapters of all towers, where there are several.
    #[serde(default)]
    pub towers: Vec<AdapterReport>,
    /// The data that was read.
    pub data: Vec<DataReport>,
    /// Each time that the run was resumed.
    pub resumed: Vec<Resumed>,
    /// How it ended last; absent while it is at work or if it was killed.
    pub ended: Option<Ended>,
}

/// A continuation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resumed {
    /// When.
    pub time: String,
    /// Steps done before it.
    pub steps: u64,
    /// The version of Gradflow.
    pub program: String,
    /// The adapter.
    pub adapter: Option<AdapterReport>,
    /// What is different from before, a line each.
    pub changes: Vec<String>,
}

/// An end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub time: String,
    /// `done`, `interrupted`, or what went wrong.
    pub how: String,
}

impl Ended {
    /// At its limit.
    pub const DONE: &str = "done";
    /// Asked to stop.
    pub const INTERRUPTED: &str = "interrupted";

    /// Whether nothing went wrong.
    pub fn is_in_order(&self) -> bool {
        [Self::DONE, Self::INTERRUPTED].contains(&self.how.as_str())
    }
}

/// A name, if it makes a single folder.
///
/// # Errors
/// If it does not.
pub fn folder_name(name: &str) -> Result<String> {
    let plain = !name.is_empty() && !name.contains(['/', '\\']) && name != "." && name != "..";
    ensure!(plain, "{name:?} cannot name a run's folder");
    Ok(name.to_owned())
}

/// The time, to the second, in the form of RFC 3339.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Where the checkpoints of the run in this folder are.
pub fn checkpoints(run: &Path) -> PathBuf {
    run.join("checkpoints")
}

/// The file with the pipeline of the run in this folder, all defaults written out.
pub fn pipeline(run: &Path) -> PathBuf {
    run.join(PIPELINE)
}

/// The file that says what the run in this folder is.
pub fn about(run: &Path) -> PathBuf {
    run.join("run.json")
}

/// Whether this is a run's folder.
pub fn is_run(path: &Path) -> bool {
    about(path).is_file()
}

/// The folder of an earlier run: by path, by name below `base`, or the one that was at work last.
/// Without a name, folders are passed over that have no pipeline to go on with.
///
/// # Errors
/// If there is none; the message says which runs there are.
pub fn find(base: &Path, asked: Option<&str>) -> Result<PathBuf> {
    let Some(asked) = asked else {
        let mut runs = all(base);
        runs.retain(|run| pipeline(run).is_file());
        let written =
            |run: &PathBuf| fs::metadata(about(run)).and_then(|about| about.modified()).ok();
        runs.sort_by_key(|run| (written(run), run.clone()));
        return runs.pop().with_context(|| format!("there is no run in {}", base.display()));
    };
    let places = [PathBuf::from(asked), base.join(asked)];
    if let Some(path) = places.iter().find(|path| is_run(path)) {
        return Ok(path.clone());
    }
    if let Some(path) = places.iter().find(|path| path.is_dir() && !is_taken(path)) {
        bail!(
            "{} holds no run: one was stopped there before it began; start it again under the same \
             name",
            path.display()
        );
    }
    let names: Vec<String> = all(base)
        .iter()
        .filter_map(|run| Some(run.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let known = match names.len() {
        0 => format!("there are no runs in {}", base.display()),
        _ => format!("the runs in {} are {}", base.display(), names.join(", ")),
    };
    bail!("{asked} is no folder of a run: {known}")
}

fn all(base: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let mut runs: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|run| is_run(run)).collect();
    runs.sort();
    runs
}

/// Reads a file of JSON.
///
/// # Errors
/// If it cannot be read, or holds something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = regular_file::read_to_string(path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_by_name_and_the_last_without() {
        let base = tempfile::tempdir().expect("a folder");
        let none = find(base.path(), None).expect_err("none yet").to_string();
        assert!(none.starts_with("there is no run in"), "{none}");
        for run in ["a", "b"] {
            let folder = RunFolder::named(base.path(), run).expect("it is made");
            write_whole(&pipeline(folder.path()), b"{}").expect("it is written");
            write_whole(&about(folder.path()), b"{}").expect("it is written");
        }
        // One that could not begin, as earlier versions left it, is passed over.
        fs::create_dir(base.path().join("z")).expect("it is made");
        write_whole(&about(&base.path().join("z")), b"{}").expect("it is written");
        let file =
            fs::File::options().write(true).open(about(&base.path().join("a"))).expect("there");
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
        file.set_modified(later).expect("it can be set");
        assert_eq!(find(base.path(), None).expect("two"), base.path().join("a"));
        assert_eq!(find(base.path(), Some("b")).expect("there"), base.path().join("b"));
        let wrong = find(base.path(), Some("c")).expect_err("not there").to_string();
        assert!(wrong.contains("a, b, z"), "{wrong}");
    }

    #[test]
    fn threads_change_no_bit_and_instructions_do() {
        let cpu = |driver: &str| AdapterReport {
            backend: "cpu".to_owned(),
            name: "cpu".to_owned(),
            driver: driver.to_owned(),
        };
        assert!(cpu("2 threads, avx512").computes_like(&cpu("16 threads, avx512")));
        assert!(!cpu("2 threads, avx512").computes_like(&cpu("2 threads, avx2")));
    }
}
