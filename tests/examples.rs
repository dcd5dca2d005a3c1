//! Examples that no other test trains.

#[path = "common/cifar10.rs"]
mod cifar10;
mod common;

use std::process::Command;

#[test]
fn examples_of_other_networks_and_recipes_train() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = cifar10::find_or_write(folder.path());
    for example in ["augmentation", "init-2015", "locally-connected", "residual"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runtime"));
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command.args(["run", &format!("examples/{example}.yaml"), "--adapter", "cpu"]);
        command.args(["--set", "steps=2", "--set", "stages.batch.batcher.size=16", "--data"]);
        common::offline(command.arg(&data)).env("GRADFLOW_RUNS", folder.path().join("runs"));
        let output = common::within(common::PATIENCE, move || command.output()).expect("it starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{example}: {told}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!((said.clone() + &*told).contains("precision @ 1 = "), "{example}: {said}");
    }
}
