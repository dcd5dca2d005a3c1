//! Ctrl-C.

use super::output::complain;
use crate::channel::Stop;

/// Lets Ctrl-C end the work in good order.
pub(super) fn listen(stop: &Stop) -> anyhow::Result<()> {
    let stop = stop.clone();
    ctrlc::set_handler(move || {
        if stop.is_stopped() {
            std::process::exit(130);
        }
        complain("stopping after the work at hand; Ctrl-C again stops at once\n");
        stop.stop();
    })?;
    Ok(())
}
