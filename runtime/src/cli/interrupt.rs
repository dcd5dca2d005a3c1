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

/// Lets Ctrl-C end this work, and no earlier one, in good order.
pub(super) fn listen(stop: &Stop) -> anyhow::Result<()> {
    let before = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).replace(stop.clone());
    if before.is_some() {
        return Ok(());
    }
    ctrlc::set_handler(|| {
        let stop = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(stop) = stop else { return };
        if stop.is_stopped() {
            std::process::exit(130);
        }
        if !HUSHED.load(Ordering::SeqCst) {
            complain("stopping after the work at hand; Ctrl-C again stops at once\n");
        }
        stop.stop();
    })?;
    Ok(())
}
