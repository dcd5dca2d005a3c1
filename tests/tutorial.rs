//! Every `runtime` command of `docs/tutorial.md`, in the order of the page and in a short form.

#[path = "common/cifar10.rs"]
mod cifar10;
mod common;
#[path = "common/python.rs"]
mod python;

use std::fs;
use std::path::Path;

use common::{finish, runtime};

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
    let data = cifar10::find_or_write(&at("data"));

    // House numbers as SciPy writes them.
    let python = python::find();
    if let Some(python) = &python {
        fs::create_dir(at("written")).expect("made");
        python::ask(python, "datasets.py", &at("written"));
    }

    let commands = commands("docs/tutorial.md");
    assert!(commands.len() > 10, "{commands:?}");
    for mut arguments in commands {
        if arguments[0] == "run" && arguments[1] == "examples/svhn.yaml" {
            if python.is_none() {
                continue;
            }
            let written = at("written/svhn-plain").display().to_string();
            let batch = "stages.batch.batcher.size=16".to_owned();
            arguments.extend(["--data".to_owned(), written, "--set".to_owned(), batch]);
        }
        if let Some((_, more)) = SHORTER.iter().find(|(name, _)| *name == arguments[0]) {
            arguments.extend(more.iter().map(|part| (*part).to_owned()));
        }
        let mut command = runtime(folder.path(), &arguments);
        command.env("GRADFLOW_DATA", &data);
        finish(command).done();
    }
}
