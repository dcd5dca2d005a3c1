//! Ctrl-C.

use std::sync::{Mutex, PoisonError};

use super::output::complain;
use crate::channel::Stop;

/// The work that Ctrl-C ends: one piece after the other in the same process.
static AT_WORK: Mutex<Option<Stop>> = Mutex::new(None);

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
        complain("stopping after the work at hand; Ctrl-C again stops at once\n");
        stop.stop();
    })?;
    Ok(())
}
