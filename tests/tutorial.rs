//! Every command of `docs/tutorial.md`, in the order of the page and in a short form.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// What makes a command short; a setting that comes last counts.
const SHORTER: [(&str, &[&str]); 2] =
    [("run", &["--set", "steps=2"]), ("bench", &["--seconds", "0.1", "--scoring", "100"])];

/// The commands in a page's blocks for the shell, without `runtime`.
fn commands(page: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(Path::new(HERE).join(page)).expect(page);
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(""));
    let lines = blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("runtime "));
    lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// A folder with CIFAR-10, or with files like its.
fn data(folder: &Path) -> PathBuf {
    if let Some(real) = std::env::var_os("GRADFLOW_DATA") {
        return real.into();
    }
    let records: Vec<u8> = (0..10_000)
        .flat_map(|image| {
            std::iter::once((image % 10) as u8).chain((0..3072).map(move |at| (image ^ at) as u8))
        })
        .collect();
    let names = (1..=5).map(|number| format!("data_batch_{number}.bin"));
    for name in names.chain(["test_batch.bin".to_owned()]) {
        fs::write(folder.join(name), &records).expect("written");
    }
    folder.to_owned()
}

#[test]
fn every_command_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("examples")).expect("made");
    for example in fs::read_dir(Path::new(HERE).join("examples")).expect("examples") {
        let example = example.expect("an entry");
        if example.path().is_file() {
            fs::copy(example.path(), at("examples").join(example.file_name())).expect("copied");
        }
    }
    image::RgbImage::from_pixel(40, 30, image::Rgb([90, 120, 200]))
        .save(at("photo.png"))
        .expect("saved");
    fs::create_dir(at("data")).expect("made");
    let data = data(&at("data"));

    let commands = commands("docs/tutorial.md");
    assert!(commands.len() > 10, "{commands:?}");
    for mut arguments in commands {
        if let Some((_, more)) = SHORTER.iter().find(|(name, _)| *name == arguments[0]) {
            arguments.extend(more.iter().map(|part| (*part).to_owned()));
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_runtime"));
        command.current_dir(folder.path()).args(&arguments);
        let output = common::offline(&mut command)
            .env("GRADFLOW_DATA", &data)
            .env_remove("GRADFLOW_RUNS")
            .output()
            .expect("the command starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "runtime {}: {told}", arguments.join(" "));
    }
}
