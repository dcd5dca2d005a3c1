//! Ctrl-C.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::output::{Failure, complain};
use base::stop::Stop;

/// The work that Ctrl-C ends: one piece after the other in the same process.
static AT_WORK: Mutex<Option<Stop>> = Mutex::new(None);

/// Whether nothing is said of it.
static HUSHED: AtomicBool = AtomicBool::new(false);

/// Whether the process hears of Ctrl-C.
static LISTENS: Mutex<bool> = Mutex::new(false);

/// Files and folders that have not got their names yet.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Says nothing of Ctrl-C from now on: another process of the job does.
pub(super) fn hush() {
    HUSHED.store(true, Ordering::SeqCst);
}

/// Whether Ctrl-C was pressed since the command began.
static ASKED: AtomicBool = AtomicBool::new(false);

/// A command begins: what ended an earlier one in the same process is over.
pub(super) fn begin() {
    ASKED.store(false, Ordering::SeqCst);
    *locked(&AT_WORK) = None;
}

/// Whether Ctrl-C was pressed since the command began: perhaps between two pieces of work, of which
/// the later one does not know.
pub(super) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Lets Ctrl-C end this work, and no earlier one, in good order. In a program that handles Ctrl-C
/// itself it is that program's to end the work.
pub(super) fn listen(stop: &Stop) -> anyhow::Result<()> {
    *locked(&AT_WORK) = Some(stop.clone());
    handle()
}

fn handle() -> anyhow::Result<()> {
    let mut listens = locked(&LISTENS);
    if *listens {
        return Ok(());
    }
    let handled = ctrlc::set_handler(|| {
        let stop = locked(&AT_WORK).clone();
        match stop {
            Some(stop) if !ASKED.swap(true, Ordering::SeqCst) => {
                if !HUSHED.load(Ordering::SeqCst) {
                    complain("stopping after the work at hand; Ctrl-C again stops at once\n");
                }
                stop.stop();
            }
            _ => {
                // Nothing can get its name any more from here on.
                let unfinished = locked(&UNFINISHED);
                unfinished.iter().for_each(|path| remove(path));
                end(130);
            }
        }
    });
    match handled {
        Err(ctrlc::Error::MultipleHandlers) => {}
        handled => handled?,
    }
    *listens = true;
    Ok(())
}

/// Ends the process at once: what a GPU's driver has to do at an ordinary exit must not meet threads
/// that are still at work with it.
fn end(status: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: it takes any number and does not come back.
    unsafe {
        libc::_exit(status)
    }
    #[cfg(not(unix))]
    {
        std::process::exit(status)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What cannot be removed only takes up room.
fn remove(path: &Path) {
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

/// A file or a folder that Ctrl-C removes as long as it has not got its name.
#[derive(Debug)]
pub(super) struct Unfinished {
    path: Option<PathBuf>,
}

impl Unfinished {
    /// Has Ctrl-C remove what is unfinished, and end the process, where it does not end work.
    pub(super) fn listen() -> Result<(), Failure> {
        handle().map_err(Failure::Run)
    }

    /// Makes something that is removed by its maker if that fails.
    pub(super) fn with<T>(make: impl FnOnce(&mut Self) -> T) -> T {
        make(&mut Self { path: None })
    }

    /// Makes it, under a name that is not its own.
    pub(super) fn begin<T: AsRef<Path>>(
        &mut self,
        make: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut unfinished = locked(&UNFINISHED);
        let made = make()?;
        unfinished.push(made.as_ref().to_owned());
        self.path = Some(made.as_ref().to_owned());
        Ok(made)
    }

    /// Gives it its name, which Ctrl-C does not interrupt.
    pub(super) fn name<T>(&mut self, give: impl FnOnce() -> T) -> T {
        let mut unfinished = locked(&UNFINISHED);
        let named = give();
        unfinished.retain(|path| Some(path) != self.path.as_ref());
        self.path = None;
        named
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        locked(&UNFINISHED).retain(|path| Some(path) != self.path.as_ref());
    }
}
