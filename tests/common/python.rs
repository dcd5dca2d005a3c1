//! What Python's packages make of the files that are written here.

#![allow(dead_code, reason = "each test file is a crate of its own and takes what it needs")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common;

/// A Python that has the packages of `tests/requirements.txt`, or a skip.
pub(crate) fn find() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("GRADFLOW_PYTHON") {
        return Some(given.into());
    }
    let imports = ["-c", "import PIL, numpy, onnxruntime, safetensors, scipy, tensorboard"];
    let tried = Command::new("python3").args(imports).output();
    if tried.is_ok_and(|output| output.status.success()) {
        return Some("python3".into());
    }
    common::skip("Python with the packages of tests/requirements.txt");
    None
}

/// What a script of `tests/` prints about a file or a folder.
pub(crate) fn ask(python: &Path, script: &str, about: &Path) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let output =
        Command::new(python).arg(script).arg(about).output().expect("Python can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", python.display());
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}

/// What TensorBoard reads in a folder.
pub(crate) fn events(python: &Path, folder: &Path) -> Value {
    ask(python, "tensorboard.py", folder)
}
