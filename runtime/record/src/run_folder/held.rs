//! A run's folder as long as a process is at work in it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use super::{PIPELINE, checkpoints};
use base::lock::{self, Attempt};
use base::whole_file::PARTIAL;

/// The highest number of a run of one name.
const NUMBER_MAX: u32 = 99_999;

/// The file by whose lock a process has a run's folder to itself.
const LOCK: &str = "lock";

/// What there may be in a folder of a run that was stopped before it began, in which `run.json` is
/// not yet: its name is free. The lock is made first and removed last.
const BEFORE_IT_BEGAN: [&str; 4] = ["log.txt", "pipeline.original.yaml", PIPELINE, LOCK];

/// A run's folder, held by this process: no other run works in it.
#[derive(Debug)]
pub struct RunFolder {
    held: Arc<Held>,
    /// Whether the run begins in it.
    is_new: bool,
    /// What to say where the file system knows no locks.
    warning: Option<String>,
}

/// The folder as it was when it was taken, by which it is known again.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    // The lock goes with the file, also if the process is killed.
    lock: File,
    identity: Option<Identity>,
    /// Whether the file system says the same of a file by its path and by its handle. Where it does
    /// not, nothing is known of what is moved.
    is_consistent: bool,
}

/// There is something of a run's name already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What is there.
    pub path: PathBuf,
}

impl Taken {
    /// What to do about it.
    pub fn help(&self) -> String {
        format!(
            "a run never writes over another: give `--run` another name, or go on with that one: \
             `runtime run --resume {}`",
            self.path.display()
        )
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is there already", self.path.display())
    }
}

impl std::error::Error for Taken {}

/// What no two files or folders have in common that are there at the same time.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(found: &fs::Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    Some((found.dev(), found.ino()))
}

/// Elsewhere, a folder with open files can rarely be moved; when they were made tells them apart.
#[cfg(not(unix))]
fn identity(found: &fs::Metadata) -> Option<Identity> {
    let since = found.created().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some((since.as_secs(), since.subsec_nanos().into()))
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
                // Another run may take a folder that is still empty for free.
                Ok(()) => {
                    if let Some(made) = Self::begin(path)? {
                        return Ok(made);
                    }
                }
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
    /// [`Taken`] if there is one already; and if it cannot be made.
    pub fn named(base: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(base).with_context(|| format!("cannot make {}", base.display()))?;
        let path = base.join(name);
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if is_taken(&path) {
                    bail!(Taken { path });
                }
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot make the run's folder {}", path.display()));
            }
        }
        Self::begin(path.clone())?.ok_or_else(|| Taken { path }.into())
    }

    /// Takes a folder in which no run has begun; `None` if another run does so.
    fn begin(path: PathBuf) -> Result<Option<Self>> {
        let folder = Self::lock(path)?;
        // It may have begun and ended before this one had the lock.
        Ok(folder
            .filter(|folder| !is_taken(folder.path()))
            .map(|folder| Self { is_new: true, ..folder }))
    }

    /// The folder of an earlier run, to go on in it. What a process that was killed had not written
    /// whole is removed.
    ///
    /// # Errors
    /// If another process is at work in it, or it cannot be written to.
    pub fn resume(path: PathBuf) -> Result<Self> {
        let at_work = format!(
            "another run is at work in {}: wait for its end, or stop it first",
            path.display()
        );
        let Some(folder) = Self::lock(path)? else { bail!(at_work) };
        for place in [folder.path().to_owned(), folder.checkpoints()] {
            let entries = fs::read_dir(place).into_iter().flatten().flatten();
            for entry in entries.filter(|entry| is_partial(&entry.file_name())) {
                // What cannot be removed only takes up room.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(folder)
    }

    /// `None` if another process has the lock.
    fn lock(path: PathBuf) -> Result<Option<Self>> {
        let file = path.join(LOCK);
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&file).with_context(
                || format!("cannot write into the run's folder {}", path.display()),
            )?;
        let attempt = lock::attempt(&lock);
        let warning = match attempt.with_context(|| format!("cannot lock {}", file.display()))? {
            Attempt::Locked => None,
            Attempt::Taken => return Ok(None),
            Attempt::Unsupported(error) => Some(format!(
                "the file system of {} knows no locks ({error}): nothing keeps another run from \
                 working in it at the same time, so go on with it from one process only",
                path.display()
            )),
        };
        let identity = fs::metadata(&path).ok().as_ref().and_then(identity);
        let by_path = fs::metadata(&file).ok().as_ref().and_then(self::identity);
        let by_handle = lock.metadata().ok().as_ref().and_then(self::identity);
        let is_consistent = by_path == by_handle;
        let held = Arc::new(Held { path, lock, identity, is_consistent });
        Ok(Some(Self { held, is_new: false, warning }))
    }

    /// What a person should know of it.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Whether the run begins in it.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether its path still leads to it.
    ///
    /// # Errors
    /// As [`Held::check`].
    pub fn check(&self) -> Result<()> {
        self.held.check()
    }

    /// The folder, to be asked whether it is still there.
    pub fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held)
    }

    /// Removes a folder in which the run could not begin, as far as it is this run's.
    pub fn abandon(self) {
        if !self.is_new || self.check().is_err() {
            return;
        }
        // What cannot be removed stays: without `run.json`, which goes first, its name is free.
        for name in ["run.json", "metrics.jsonl", "variants.json"].iter().chain(&BEFORE_IT_BEGAN) {
            let _ = fs::remove_file(self.path().join(name));
        }
        let _ = fs::remove_dir_all(self.path().join("tensorboard"));
        let _ = fs::remove_dir(self.checkpoints());
        let _ = fs::remove_dir(self.path());
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.held.path
    }

    /// A place in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Where checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        checkpoints(self.path())
    }

    /// A folder for what a continuation supersedes: kept, but out of the way.
    pub fn superseded(&self) -> PathBuf {
        self.path().join("superseded")
    }
}

impl Held {
    /// Whether its path still leads to it.
    ///
    /// # Errors
    /// If it was moved or removed: what is there now, if anything is, is not this run's.
    pub fn check(&self) -> Result<()> {
        if !self.is_consistent {
            return Ok(());
        }
        let path = self.path.display();
        let lock = fs::metadata(self.path.join(LOCK));
        match (&lock, self.lock.metadata()) {
            (Ok(found), Ok(held)) if identity(found) == identity(&held) => return Ok(()),
            (Ok(_), _) => bail!(
                "the folder of this run is not at {path} any more, but another one: nothing more of \
                 this run is written there"
            ),
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {}
            (Err(error), _) => {
                let error = io::Error::from(error.kind());
                return Err(error).with_context(|| format!("cannot look at {path}"));
            }
        }
        // Somebody may have removed the lock alone.
        let now = fs::metadata(&self.path).ok().as_ref().and_then(identity);
        if now.is_some() && now == self.identity {
            return Ok(());
        }
        bail!(
            "the folder of this run is not at {path} any more: nothing more of this run is kept, \
             unless it comes back"
        )
    }
}

/// Whether there is something of this name that no new run may use. A folder that a run was about to
/// begin in when it was killed is free; it has a lock. Files without one are somebody's own.
pub fn is_taken(path: &Path) -> bool {
    let Ok(found) = fs::symlink_metadata(path) else { return false };
    let names = |entries: fs::ReadDir| {
        entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>()
    };
    let Ok(names) = fs::read_dir(path).and_then(names) else { return true };
    let is_left =
        |name: &OsString| is_partial(name) || BEFORE_IT_BEGAN.iter().any(|known| name == *known);
    let is_free =
        names.is_empty() || (names.iter().all(is_left) && names.iter().any(|n| n == LOCK));
    !found.is_dir() || !is_free
}

/// Whether a file of this name was not yet whole.
fn is_partial(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PARTIAL))
}

/// Whether some process trains in this folder now.
pub fn is_at_work(run: &Path) -> bool {
    let Ok(lock) = File::open(run.join(LOCK)) else { return false };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_folder::{about, find, is_run, write_whole};
    use base::whole_file::partial;

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
        let again = RunFolder::named(&runs, "mine").expect_err("it is at work");
        let taken = again.downcast_ref::<Taken>().expect("it is taken");
        assert_eq!(taken.path, runs.join("mine"));
        assert!(taken.help().contains("never writes over"), "{}", taken.help());
        assert_eq!(name(&named), "mine");
    }

    #[test]
    fn a_folder_in_which_no_run_has_begun_is_free() {
        let base = tempfile::tempdir().expect("a folder");
        let path = base.path().join("net");
        drop(RunFolder::named(base.path(), "net").expect("it is made"));
        fs::write(path.join("pipeline.original.yaml"), "{}").expect("it is written");
        fs::write(path.join(".partial-x"), "").expect("it is written");
        let found = find(base.path(), Some("net")).expect_err("no run").to_string();
        assert!(found.contains("start it again under the same name"), "{found}");
        let again = RunFolder::named(base.path(), "net").expect("nothing has begun");
        write_whole(&about(again.path()), b"{}").expect("it is written");
        drop(again);
        let named = || RunFolder::named(base.path(), "net");
        assert!(named().expect_err("it is a run").is::<Taken>());
        fs::remove_file(about(&path)).expect("it is removed");
        fs::write(path.join("notes.txt"), "somebody's").expect("it is written");
        assert!(named().expect_err("it holds something else").is::<Taken>());
        // A pipeline that somebody wrote into a folder of their own is no run's.
        let own = base.path().join("own");
        fs::create_dir(&own).expect("a folder");
        fs::write(own.join(PIPELINE), "mine").expect("it is written");
        let refused = RunFolder::named(base.path(), "own").expect_err("it is somebody's");
        assert!(refused.is::<Taken>());
        assert_eq!(fs::read_to_string(own.join(PIPELINE)).expect("it stays"), "mine");
    }

    #[test]
    fn a_folder_in_which_a_run_could_not_begin_is_removed_and_no_other() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = RunFolder::named(base.path(), "net").expect("it is made");
        let path = folder.path().to_owned();
        write_whole(&about(&path), b"{}").expect("it is written");
        fs::create_dir_all(path.join("tensorboard/train")).expect("it is made");
        folder.abandon();
        assert!(!path.exists());
        let folder = RunFolder::named(base.path(), "net").expect("it is free");
        write_whole(&about(&path), b"{}").expect("it is written");
        drop(folder);
        RunFolder::resume(path.clone()).expect("it goes on").abandon();
        assert!(is_run(&path), "it had begun before");
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_was_moved_is_told_from_the_one_in_its_place() {
        let base = tempfile::tempdir().expect("a folder");
        let (path, old) = (base.path().join("net"), base.path().join("old"));
        let folder = RunFolder::named(base.path(), "net").expect("it is made");
        folder.check().expect("it is there");
        fs::rename(&path, &old).expect("it is moved");
        let error = folder.check().expect_err("it is not there").to_string();
        assert!(error.contains("any more: nothing more of this run is kept"), "{error}");
        let other = RunFolder::named(base.path(), "net").expect("the name is free");
        other.check().expect("it is there");
        let error = folder.check().expect_err("another one is there").to_string();
        assert!(error.contains("any more, but another one"), "{error}");
        drop(other);
        fs::remove_dir_all(&path).expect("it is removed");
        fs::rename(&old, &path).expect("it comes back");
        folder.check().expect("it is there again");
        fs::remove_file(path.join(LOCK)).expect("it is removed");
        folder.check().expect("the folder is the same");
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
}
