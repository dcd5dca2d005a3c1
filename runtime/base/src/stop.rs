//! Asks everything that belongs to a run to end.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::{Receiver, Sender, bounded};

/// Asks a run to end. All clones are of the same run.
#[derive(Clone, Default)]
pub struct Stop {
    shared: Arc<Shared>,
}

/// Ends something that waits.
type Hook = Box<dyn Fn() + Send>;

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    hooks: Mutex<Vec<Hook>>,
    signal: Signal,
}

/// A channel that is closed once a run is to end; nothing else is sent over it.
struct Signal {
    sender: Sender<()>,
    receiver: Receiver<()>,
}

impl Default for Signal {
    fn default() -> Self {
        let (sender, receiver) = bounded(1);
        Self { sender, receiver }
    }
}

impl Stop {
    /// Asks the run to end.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.signal.sender.close();
        self.hooks().iter().for_each(|hook| hook());
    }

    /// Whether the run was asked to end.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::SeqCst)
    }

    /// Waits until the run is asked to end: for a stage that waits for something else than its
    /// channels.
    pub async fn stopped(&self) {
        // Nothing is ever sent, so that this is the end of the channel.
        let _ = self.shared.signal.receiver.recv().await;
    }

    /// Calls `hook` when the run is asked to end; at once if it already was. The hook may not use this
    /// `Stop` or its clones.
    pub fn on_stop(&self, hook: impl Fn() + Send + 'static) {
        let mut hooks = self.hooks();
        if self.is_stopped() {
            hook();
        }
        hooks.push(Box::new(hook));
    }

    fn hooks(&self) -> MutexGuard<'_, Vec<Hook>> {
        self.shared.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("stopped", &self.is_stopped()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn hooks_are_called_whether_they_come_before_or_after() {
        let stop = Stop::default();
        let called = Arc::new(AtomicUsize::new(0));
        let hook = || {
            let called = Arc::clone(&called);
            move || {
                called.fetch_add(1, Ordering::SeqCst);
            }
        };
        stop.on_stop(hook());
        assert_eq!((called.load(Ordering::SeqCst), stop.is_stopped()), (0, false));
        stop.clone().stop();
        assert_eq!((called.load(Ordering::SeqCst), stop.is_stopped()), (1, true));
        stop.on_stop(hook());
        assert_eq!(called.load(Ordering::SeqCst), 2);
    }
}
