//! Printing on a thread of its own: whoever reads slowly, or not at all, holds up the run only until
//! it is asked to stop.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use base::stop::Stop;

/// What may wait to be printed.
const WAITING: usize = 1024;
/// Time between two looks at a queue that is full, or at a thread that is at work.
const LOOK: Duration = Duration::from_millis(2);
/// How long a run that was asked to stop waits for a reader who takes nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something to be printed.
pub(super) enum Print {
    /// A line.
    Line(String),
    /// The steps done, of how many, and how fast.
    Progress { done: u64, of: u64, images_per_s: f64 },
}

/// Where things are printed.
pub(super) struct Printer {
    queue: Option<SyncSender<Print>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    stop: Stop,
    /// The output was not read although a stop was asked for: it is given up.
    abandoned: bool,
}

/// What the thread has done.
#[derive(Default)]
struct Shared {
    printed: AtomicU64,
    failure: Mutex<Option<io::Error>>,
}

impl Printer {
    /// Prints here, with a bar on standard error if there is one.
    pub(super) fn new(out: Box<dyn Write + Send>, bar: Option<ProgressBar>, stop: Stop) -> Self {
        let (queue, prints) = sync_channel(WAITING);
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let work = move || print_all(&prints, out, bar.as_ref(), &own);
        // Without a thread nothing is printed; what is kept is not touched by that.
        let thread = thread::Builder::new().name("console".to_owned()).spawn(work).ok();
        Self { queue: Some(queue), thread, shared, stop, abandoned: false }
    }

    /// Prints something after what came before it.
    pub(super) fn print(&mut self, print: Print) {
        let Some(queue) = self.queue.as_ref().filter(|_| !self.abandoned) else { return };
        let mut waiting = Waiting::new(&self.shared);
        let mut print = print;
        loop {
            match queue.try_send(print) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => print = back,
            }
            if self.stop.is_stopped() && waiting.is_in_vain(&self.shared) {
                self.abandoned = true;
                return;
            }
            thread::sleep(LOOK);
        }
    }

    /// Waits until everything has been printed; gives what went wrong.
    pub(super) fn finish(&mut self) -> Option<io::Error> {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let mut waiting = Waiting::new(&self.shared);
            while !thread.is_finished() {
                let stopped = self.stop.is_stopped();
                if self.abandoned || (stopped && waiting.is_in_vain(&self.shared)) {
                    // It ends with the process.
                    return None;
                }
                thread::sleep(LOOK);
            }
        }
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A wait for somebody who reads.
struct Waiting {
    printed: u64,
    since: Instant,
}

impl Waiting {
    fn new(shared: &Shared) -> Self {
        Self { printed: shared.printed.load(Ordering::SeqCst), since: Instant::now() }
    }

    /// Whether nothing has been printed for too long.
    fn is_in_vain(&mut self, shared: &Shared) -> bool {
        let printed = shared.printed.load(Ordering::SeqCst);
        if printed != self.printed {
            *self = Self { printed, since: Instant::now() };
        }
        self.since.elapsed() >= PATIENCE
    }
}

/// Prints what comes, until no more can come. Once that fails, nothing more is printed.
fn print_all(
    prints: &Receiver<Print>,
    mut out: Box<dyn Write + Send>,
    bar: Option<&ProgressBar>,
    shared: &Shared,
) {
    let mut failed = false;
    for print in prints {
        match print {
            Print::Progress { done, of, images_per_s } => {
                if let Some(bar) = bar {
                    bar.set_length(of);
                    bar.set_position(done);
                    bar.set_message(format!("{images_per_s:.0} images/s"));
                }
            }
            Print::Line(_) if failed => {}
            Print::Line(text) => {
                let mut print = || writeln!(out, "{text}").and_then(|()| out.flush());
                let printed = match bar {
                    Some(bar) => bar.suspend(print),
                    None => print(),
                };
                if let Err(error) = printed {
                    failed = true;
                    // If standard error is closed as well, nobody is left to be told.
                    let _ = writeln!(
                        io::stderr(),
                        "warning: standard output cannot be written to ({error}): the run goes on \
                         without it, and log.txt in its folder has every line"
                    );
                    *shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
        }
        shared.printed.fetch_add(1, Ordering::SeqCst);
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing.
    struct Stuck;

    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            loop {
                thread::park();
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Fails at the second line.
    struct Full(Arc<Mutex<Vec<u8>>>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut kept = self.0.lock().expect("no panic");
            if kept.contains(&b'\n') {
                return Err(io::ErrorKind::StorageFull.into());
            }
            kept.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(text: &str) -> Print {
        Print::Line(text.to_owned())
    }

    #[test]
    fn nobody_who_reads_keeps_a_run_from_stopping() {
        let stop = Stop::default();
        let mut printer = Printer::new(Box::new(Stuck), None, stop.clone());
        for _ in 0..WAITING {
            printer.print(line("a"));
        }
        stop.stop();
        for _ in 0..10 * WAITING {
            printer.print(line("b"));
        }
        assert!(printer.finish().is_none());
    }

    #[test]
    fn a_failure_is_given_and_later_lines_are_dropped() {
        let kept = Arc::default();
        let mut printer = Printer::new(Box::new(Full(Arc::clone(&kept))), None, Stop::default());
        for text in ["one", "two", "three"] {
            printer.print(line(text));
        }
        let failure = printer.finish().expect("the second line fails");
        assert_eq!(failure.kind(), io::ErrorKind::StorageFull);
        assert_eq!(*kept.lock().expect("no panic"), b"one\n");
    }
}
