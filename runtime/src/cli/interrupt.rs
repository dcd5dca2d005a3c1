//! Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::output::complain;
use crate::channel::Stop;

/// The work that Ctrl-C ends: one piece after the other in the same process.
static AT_WORK: Mutex<Option<Stop>> = Mutex::new(None);

/// Whether nothing is said of it.
static HUSHED: AtomicBool = AtomicBool::new(false);

/// Says nothing of Ctrl-C from now on: another process of the job does.
pub(super) fn hush() {
    HUSHED.store(true, Ordering::SeqCst);
}

/// Whether Ctrl-C was pressed since the command began.
static ASKED: AtomicBool = AtomicBool::new(false);

/// A command begins: what ended an earlier one in the same process is over.
pub(super) fn begin() {
    ASKED.store(false, Ordering::SeqCst);
}

/// Whether Ctrl-C was pressed since the command began: perhaps between two pieces of work, of which
/// the later one does not know.
pub(super) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Lets Ctrl-C end this work, and no earlier one, in good order. In a program that handles Ctrl-C
/// itself it is that program's to end the work.
pub(super) fn listen(stop: &Stop) -> anyhow::Result<()> {
    let mut at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
    let is_first = at_work.replace(stop.clone()).is_none();
    drop(at_work);
    if !is_first {
        return Ok(());
    }
    let handled = ctrlc::set_handler(|| {
        let stop = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(stop) = stop else { return };
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        if !HUSHED.load(Ordering::SeqCst) {
            complain("stopping after the work at hand; Ctrl-C again stops at once\n");
        }
        stop.stop();
    });
    match handled {
        Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        handled => Ok(handled?),
    }
}
