//! Stages of one's own: what `runtime new` writes, and that the example which it is taken from
//! builds, passes its tests and trains.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use compute::adapter::Adapter as _;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

fn runtime(folder: &Path, arguments: &[&str]) -> Output {
    common::runtime(folder, arguments).output().expect("the command starts")
}

#[track_caller]
fn done(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_new_crate_and_a_new_pipeline_replace_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let new = |arguments: &[&str]| runtime(folder.path(), &[&["new"], arguments].concat());
    done(&new(&["mine", "--source", HERE]));
    let manifest = folder.path().join("mine/Cargo.toml");
    fs::write(&manifest, "changed").expect("written");
    let again = new(&["mine", "--source", HERE]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(fs::read_to_string(&manifest).expect("it is there"), "changed");

    done(&new(&["--pipeline", "first"]));
    assert_eq!(new(&["--pipeline", "first.yaml"]).status.code(), Some(1));
    assert!(!done(&runtime(folder.path(), &["check", "first.yaml"])).contains("note["));
    done(&runtime(folder.path(), &["test", "first.yaml"]));

    for wrong in [["new", "../up"].as_slice(), &["new", "mine2", "--source", "/nonexistent"]] {
        assert_eq!(runtime(folder.path(), wrong).status.code(), Some(2), "{wrong:?}");
    }
    assert!(!folder.path().join("mine2").exists());
}

/// Gradflow's crates, which are built again for a crate outside their workspace. Less optimised they
/// take far less time to build, and a few steps with them hardly more.
const QUICKLY: [&str; 14] = [
    "gradflow",
    "gradflow-base",
    "gradflow-bench",
    "gradflow-cli",
    "gradflow-cluster",
    "gradflow-compute",
    "gradflow-config",
    "gradflow-fetch",
    "gradflow-flow",
    "gradflow-inference",
    "gradflow-onnx",
    "gradflow-record",
    "gradflow-shaders",
    "gradflow-stages",
];

/// Builds it where the tests themselves were built, so that everything but its own few files and
/// Gradflow's crates is there already.
#[test]
fn the_example_builds_and_passes_its_tests_and_trains() {
    let example = Path::new(HERE).join("examples/my_stage");
    // The versions that everything else was built with.
    fs::copy(Path::new(HERE).join("Cargo.lock"), example.join("Cargo.lock")).expect("copied");
    let built = Path::new(env!("CARGO_BIN_EXE_runtime")).parent().expect("a folder");
    let profile = if built.ends_with("release") { "release" } else { "dev" };
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(&example).args(arguments).args(["--offline", "--profile", profile]);
        for name in QUICKLY {
            let setting = format!("profile.{profile}.package.{name}.opt-level=1");
            command.args(["--config", &setting]);
        }
        // What cargo tells a test of its package would make build scripts run again, here and then
        // for everything else.
        let of_this =
            |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        names.filter(|name| of_this(name)).for_each(|name| {
            command.env_remove(name);
        });
        let target = built.parent().expect("the target folder");
        command.env("CARGO_TARGET_DIR", target).output().expect("cargo starts")
    };
    done(&cargo(&["build"]));
    let tested = cargo(&["test"]);
    assert!(done(&tested).contains("3 passed"), "{tested:?}");

    let folder = tempfile::tempdir().expect("a folder");
    let program = built.join(format!("my_stage{}", std::env::consts::EXE_SUFFIX));
    let pipeline = example.join("pipeline.yaml");
    let pipeline = pipeline.to_str().expect("text");
    let ran = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir(folder.path()).args(arguments);
        done(&common::offline(&mut command).output().expect("the program starts"))
    };
    assert!(ran(&["list"]).contains("posterizer"));
    let checked = Command::new(&program).args(["check", pipeline]).output().expect("it starts");
    assert!(done(&checked).contains("posterizer") && checked.stderr.is_empty(), "{checked:?}");
    assert!(ran(&["inspect", "leaky_relu"]).contains("slope: number, default 0.01"));
    assert!(ran(&["test", pipeline]).contains("2 passed, 0 failed"));

    let mut adapters = vec!["cpu".to_owned()];
    let gpus = common::gpus();
    adapters.extend(gpus.first().map(|gpu| format!("{}/{}", gpu.info().backend, gpu.info().name)));
    let loss = |adapter: &String| -> f64 {
        let few = ["--set", "steps=12", "--set", "stages.batch.batcher.size=32"];
        let out = ran(&[&["run", pipeline, "--adapter", adapter], &few[..]].concat());
        let (_, last) = out.rsplit_once("step 10, loss = ").expect("a loss");
        let digits = last.split(|c: char| !c.is_ascii_digit() && c != '.').next();
        digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{out}"))
    };
    let losses: Vec<f64> = adapters.iter().map(loss).collect();
    // Its sink has kept the losses of the steps that were logged, with the stage that they are of.
    let table = folder.path().join("runs/pipeline-001/losses.csv");
    let table = fs::read_to_string(table).expect("the sink's file");
    let lines: Vec<&str> = table.lines().collect();
    let begin = |at: usize| lines[at].rsplit_once(',').expect("columns").0;
    assert_eq!(lines.len(), 4, "{table}");
    assert_eq!(lines[0], "stage,step,loss");
    assert_eq!([1, 2, 3].map(begin), ["train,0", "train,10", "train,11"]);
    for other in &losses {
        assert!((other - losses[0]).abs() < 0.02 * losses[0], "{adapters:?}: {losses:?}");
    }
}
