//! Examples that no other test trains.

#[path = "common/cifar10.rs"]
mod cifar10;
mod common;

use std::path::Path;

use common::{finish, runtime};

#[test]
fn examples_of_other_networks_and_recipes_train() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = cifar10::find_or_write(folder.path());
    for example in ["augmentation", "init-2015", "locally-connected", "residual"] {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let example = format!("examples/{example}.yaml");
        let mut command = runtime(here, &["run", &example, "--adapter", "cpu"]);
        command.args(["--set", "steps=2", "--set", "stages.batch.batcher.size=16", "--data"]);
        command.arg(&data).env("GRADFLOW_RUNS", folder.path().join("runs"));
        let all = finish(command).done().all();
        assert!(all.contains("precision @ 1 = "), "{example}: {all}");
    }
}
