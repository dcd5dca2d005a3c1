//! What the tests of the whole product share.

#![allow(dead_code, reason = "each test file is a crate of its own and takes what it needs")]

mod ran;

use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use compute::adapter::Adapter;
use compute::adapter::host::Cpu;
use compute::adapter::wgpu::{self, WgpuAdapter};
use compute::precision::Precision;

#[allow(unused_imports, reason = "each test file takes what it needs")]
pub(crate) use ran::{Ran, finish, runtime, text, with_settings};

/// Says that a test has nothing to run on. With `GRADFLOW_NO_SKIP=1`, as on a machine that is
/// known to have everything, that is a failure.
pub(crate) fn skip(missing: &str) {
    assert!(std::env::var("GRADFLOW_NO_SKIP").as_deref() != Ok("1"), "missing: {missing}");
    eprintln!("skipped: no {missing}");
}

/// Says that the processor lacks instructions that a test is about. That is no failure anywhere: they
/// cannot be installed.
pub(crate) fn skip_on_this_processor(missing: &str) {
    eprintln!("skipped: this processor has no {missing}");
}

/// Longer than any command of the tests takes, however busy the machine: it only ends what hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// Keeps a command from data that this machine or the network may have.
pub(crate) fn offline(command: &mut Command) -> &mut Command {
    command
        .env_remove("GRADFLOW_DATA")
        .env_remove("GRADFLOW_MIRROR")
        .env("GRADFLOW_OFFLINE", "1")
        .env("GRADFLOW_CACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"))
}

/// The `cpu` adapter with this many threads.
pub(crate) fn cpu(threads: usize) -> Cpu {
    Cpu::new(threads).expect("the cpu adapter starts")
}

/// Every adapter of the machine's graphics drivers, or a skip.
pub(crate) fn gpus() -> Vec<WgpuAdapter> {
    let adapters = wgpu::enumerate();
    if adapters.is_empty() {
        skip("wgpu adapter");
    }
    for adapter in &adapters {
        let info = adapter.info();
        println!("{} ({}, {})", info.name, info.backend, info.driver);
    }
    adapters
}

/// Those of them that compute in this precision, or a skip.
pub(crate) fn gpus_in(precision: Precision) -> Vec<WgpuAdapter> {
    let mut adapters = gpus();
    adapters.retain(|adapter| adapter.info().precisions.contains(&precision));
    if adapters.is_empty() {
        skip(&format!("wgpu adapter with {precision}"));
    }
    adapters
}

/// What `work` gives, or a failed test if it hangs.
pub(crate) fn within<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || sender.send(work()));
    match receiver.recv_timeout(patience) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("still at it after {patience:?}"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => unreachable!("it sends before it ends"),
        },
    }
}
