//! How the comparison with other programs makes its table; nothing is measured here.

mod common;
#[path = "common/python.rs"]
mod python;

use std::path::Path;
use std::process::Command;

#[test]
fn the_table_of_the_comparison_is_as_its_own_tests_say() {
    let Some(python) = python::find() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    let output = Command::new(&python)
        .args(["-B", "-m", "unittest", "discover", "--start-directory"])
        .arg(&folder)
        .output()
        .expect("Python can be started");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    // None found would be a success for older Pythons.
    assert!(!told.contains("Ran 0 tests"), "{told}");
}
