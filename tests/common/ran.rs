//! The real command, and what it did.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use super::{PATIENCE, offline, within};

/// `runtime ARGUMENTS` in this folder, kept from what this machine or the network may have.
pub(crate) fn runtime<A: AsRef<OsStr>>(folder: &Path, arguments: &[A]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runtime"));
    offline(&mut command).env_remove("GRADFLOW_RUNS").current_dir(folder).args(arguments);
    command
}

/// Arguments with each of these settings behind a `--set`.
pub(crate) fn with_settings<'a>(arguments: &[&'a str], set: &[&'a str]) -> Vec<&'a str> {
    let set = set.iter().flat_map(|set| ["--set", set]);
    arguments.iter().copied().chain(set).collect()
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None` if a signal ended it.
    pub(crate) status: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) told: String,
}

impl Ran {
    /// Asserts that it ended well.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.status, Some(0), "{self:#?}");
        self
    }

    /// Asserts that it ended with this status and told all of these on standard error.
    #[track_caller]
    pub(crate) fn failed(self, status: i32, parts: &[&str]) -> Self {
        assert_eq!(self.status, Some(status), "{self:#?}");
        for part in parts {
            assert!(self.told.contains(part), "{part:?} is not told: {self:#?}");
        }
        self
    }

    /// Asserts that it was refused before it began, and told all of these.
    #[track_caller]
    pub(crate) fn refused(self, parts: &[&str]) -> Self {
        self.failed(2, parts)
    }

    /// All that it printed.
    pub(crate) fn all(&self) -> String {
        self.out.clone() + &self.told
    }
}

/// Runs a command to its end, which must be no panic.
#[track_caller]
pub(crate) fn finish(mut command: Command) -> Ran {
    let output = within(PATIENCE, move || command.output()).expect("the command starts");
    let [out, told] = [output.stdout, output.stderr].map(text);
    Ran { status: output.status.code(), out, told }
}

/// What a command printed, in which no panic is.
#[track_caller]
pub(crate) fn text(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes).expect("UTF-8");
    assert!(!text.contains("panicked") && !text.contains("stack backtrace"), "{text}");
    text
}
