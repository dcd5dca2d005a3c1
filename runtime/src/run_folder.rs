//! The folder that a run owns: everything it writes is in there, and nothing else is.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::adapter::AdapterReport;
use crate::adapter::several::Several;
use crate::reports::DataReport;

/// Where runs are kept unless said otherwise.
pub const RUNS: &str = "runs";

/// Gives up looking for a free number: whoever has that many runs of one name should tidy up.
const NUMBER_MAX: u32 = 99_999;

/// A run's folder, held by this process: no other run works in it.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    // The lock goes with the file, also if the process is killed.
    _lock: File,
}

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
    #[serde(with = "crate::os_path")]
    pub folder: PathBuf,
    /// `--data`, if it was given.
    #[serde(default, with = "crate::os_path::optional")]
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

impl RunFolder {
    /// A new folder `BASE/NAME-NNN`, the number being the first that is free.
    ///
    /// # Errors
    /// If nothing can be made there.
    pub fn numbered(base: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(base).with_context(|| format!("cannot make {}", base.display()))?;
        for number in 1..=NUMBER_MAX {
            let path = base.join(format!("{name}-{number:03}"));
            match fs::create_dir(&path) {
                Ok(()) => return Self::lock(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("cannot make the run's folder {}", path.display())
                    });
                }
            }
        }
        bail!("{} has all numbers up to {NUMBER_MAX} of {name} taken", base.display())
    }

    /// A new folder `BASE/NAME`.
    ///
    /// # Errors
    /// If there is one already, or it cannot be made.
    pub fn named(base: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(base).with_context(|| format!("cannot make {}", base.display()))?;
        let path = base.join(name);
        match fs::create_dir(&path) {
            Ok(()) => Self::lock(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(
                "{} is there already, and a run never writes over another.\nGive `--run` another \
                 name, or go on with it: `runtime run --resume {name}`",
                path.display()
            ),
            Err(error) => Err(error)
                .with_context(|| format!("cannot make the run's folder {}", path.display())),
        }
    }

    /// The folder of an earlier run, to go on in it. What a process that was killed had not written
    /// whole is removed.
    ///
    /// # Errors
    /// If another process is at work in it, or it cannot be written to.
    pub fn resume(path: PathBuf) -> Result<Self> {
        let folder = Self::lock(path)?;
        for place in [folder.path.clone(), folder.checkpoints()] {
            let entries = fs::read_dir(place).into_iter().flatten().flatten();
            let partial = |entry: &fs::DirEntry| {
                entry.file_name().to_str().is_some_and(|name| name.starts_with(PARTIAL))
            };
            for entry in entries.filter(partial) {
                // What cannot be removed only takes up room.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(folder)
    }

    fn lock(path: PathBuf) -> Result<Self> {
        let file = path.join("lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&file).with_context(
                || format!("cannot write into the run's folder {}", path.display()),
            )?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "another run is at work in {}: wait for its end, or stop it first",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", file.display()))
            }
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A place in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        checkpoints(&self.path)
    }

    /// A folder for what a continuation supersedes: kept, but out of the way.
    pub fn superseded(&self) -> PathBuf {
        self.path.join("superseded")
    }
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
    run.join("pipeline.yaml")
}

/// The file that says what the run in this folder is.
pub fn about(run: &Path) -> PathBuf {
    run.join("run.json")
}

/// Whether this is a run's folder.
pub fn is_run(path: &Path) -> bool {
    about(path).is_file()
}

/// Whether some process trains in this folder now.
pub fn is_at_work(run: &Path) -> bool {
    let Ok(lock) = File::open(run.join("lock")) else { return false };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// The folder of an earlier run: by path, by name below `base`, or the one that was at work last.
///
/// # Errors
/// If there is none; the message says which runs there are.
pub fn find(base: &Path, asked: Option<&str>) -> Result<PathBuf> {
    let Some(asked) = asked else {
        let mut runs = all(base);
        let written =
            |run: &PathBuf| fs::metadata(about(run)).and_then(|about| about.modified()).ok();
        runs.sort_by_key(|run| (written(run), run.clone()));
        return runs.pop().with_context(|| format!("there is no run in {}", base.display()));
    };
    for path in [PathBuf::from(asked), base.join(asked)] {
        if is_run(&path) {
            return Ok(path);
        }
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
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// What begins the names of files that are not whole yet.
const PARTIAL: &str = ".partial-";

/// Writes a file so that it is either the old one or the new one, whatever happens: beside it
/// first, onto the disk, then in its place.
///
/// # Errors
/// If the disk is full or the folder cannot be written to; the old file is still there then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || -> io::Result<()> {
        let mut file = partial(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The new name, too, should be there after a power failure. Not every system can say so of
        // a folder, and the file itself is whole either way.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// A file that is removed again unless it gets another name.
fn partial(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PARTIAL);
    // As any new file: what the user's mask leaves of it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(folder: &RunFolder) -> String {
        folder.path().file_name().expect("a name").to_string_lossy().into_owned()
    }

    #[test]
    fn each_run_has_a_folder_of_its_own() {
        let base = tempfile::tempdir().expect("a folder");
        let runs = base.path().join("deep/runs");
        let first = RunFolder::numbered(&runs, "net").expect("it is made");
        let second = RunFolder::numbered(&runs, "net").expect("it is made");
        assert_eq!([name(&first), name(&second)], ["net-001", "net-002"]);
        let named = RunFolder::named(&runs, "mine").expect("it is made");
        let again = RunFolder::named(&runs, "mine").expect_err("it is taken").to_string();
        assert!(again.contains("never writes over") && again.contains("--resume mine"), "{again}");
        assert_eq!(name(&named), "mine");
    }

    #[test]
    fn two_runs_cannot_work_in_one_folder() {
        let base = tempfile::tempdir().expect("a folder");
        let first = RunFolder::numbered(base.path(), "net").expect("it is made");
        let path = first.path().to_owned();
        assert!(is_at_work(&path));
        let second = RunFolder::resume(path.clone()).expect_err("it is at work").to_string();
        assert!(second.contains("another run is at work"), "{second}");
        drop(first);
        assert!(!is_at_work(&path));
        RunFolder::resume(path).expect("nobody is at work");
    }

    #[test]
    fn what_was_not_written_whole_is_removed_when_a_run_goes_on() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = RunFolder::numbered(base.path(), "net").expect("it is made");
        let (run, checkpoints) = (folder.path().to_owned(), folder.checkpoints());
        fs::create_dir(&checkpoints).expect("it is made");
        drop(folder);
        for place in [&run, &checkpoints] {
            fs::write(place.join("whole"), "kept").expect("it is written");
            // What a process leaves that is killed right then.
            let (_, path) = partial(place).expect("it is made").keep().expect("it stays");
            assert!(path.is_file());
        }
        let folder = RunFolder::resume(run.clone()).expect("nobody is at work");
        let names = |place: &Path| -> Vec<_> {
            let entries = fs::read_dir(place).expect("the folder").flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&checkpoints), ["whole"]);
        assert_eq!(names(folder.path()), ["checkpoints", "lock", "whole"]);
    }

    #[test]
    fn runs_are_found_by_name_and_the_last_without() {
        let base = tempfile::tempdir().expect("a folder");
        let none = find(base.path(), None).expect_err("none yet").to_string();
        assert!(none.starts_with("there is no run in"), "{none}");
        for run in ["a", "b"] {
            let folder = RunFolder::named(base.path(), run).expect("it is made");
            write_whole(&about(folder.path()), b"{}").expect("it is written");
        }
        let file = File::options().write(true).open(about(&base.path().join("a"))).expect("there");
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
        file.set_modified(later).expect("it can be set");
        assert_eq!(find(base.path(), None).expect("two"), base.path().join("a"));
        assert_eq!(find(base.path(), Some("b")).expect("there"), base.path().join("b"));
        let wrong = find(base.path(), Some("c")).expect_err("not there").to_string();
        assert!(wrong.contains("a, b"), "{wrong}");
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

    #[test]
    fn a_file_is_replaced_whole() {
        let base = tempfile::tempdir().expect("a folder");
        let path = base.path().join("file");
        write_whole(&path, b"one").expect("it is written");
        write_whole(&path, b"two").expect("it is written");
        assert_eq!(fs::read(&path).expect("it is there"), b"two");
        assert_eq!(fs::read_dir(base.path()).expect("the folder").count(), 1);
        assert!(write_whole(&base.path().join("absent/file"), b"x").is_err());
    }
}
