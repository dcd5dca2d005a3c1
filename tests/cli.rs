//! The command itself: what it prints, and its exit status.
//!
//! Each `tests/errors/NAME.yaml` is checked, and what is told must be `NAME.txt`. With
//! `UPDATE_EXPECT=1` in the environment the texts are written anew.

mod common;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{Ran, finish};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs the command; whatever it is given, it must not panic.
fn runtime_in(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Ran { status, out, told } = finish(common::runtime(folder, arguments));
    (status.expect("an exit status"), out, told)
}

fn runtime(arguments: &[&str]) -> (i32, String, String) {
    runtime_in(&root(), arguments)
}

#[test]
fn every_mistake_is_told_as_expected() {
    let folder = root().join("tests/errors");
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    assert!(names.len() > 20);
    let mut wrong = Vec::new();
    for name in &names {
        let text = std::fs::read_to_string(folder.join(name)).expect("the pipeline");
        let first = text.lines().next().unwrap_or_default();
        let verb = first.strip_prefix("# verb: ").unwrap_or("check");
        let mut arguments = vec![verb, name];
        arguments.extend(first.strip_prefix("# arguments: ").unwrap_or("").split_whitespace());
        let (status, out, told) = runtime_in(&folder, &arguments);
        assert_eq!((status, &*out), (2, ""), "{name}: {told}");
        let path = folder.join(name.replace(".yaml", ".txt"));
        if update {
            std::fs::write(path, told).expect("the text is written");
        } else if std::fs::read_to_string(path).unwrap_or_default() != told {
            wrong.push(format!("{name} gives:\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_pipelines_of_the_repository_are_right() {
    for entry in std::fs::read_dir(root().join("examples")).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let (status, _, told) = runtime(&["check", &path.to_string_lossy()]);
            assert_eq!((status, &*told), (0, ""), "{}", path.display());
        }
    }
    let (status, out, told) = runtime(&["check", "pipeline.yaml"]);
    assert_eq!((status, &*told), (0, ""), "{out}");
    assert!(out.contains("images u8[24, 24, 3]"), "{out}");
    assert!(out.contains("local3"), "{out}");
    let f16 = ["check", "pipeline.yaml", "--adapter", "cpu", "--set", "precision=f16"];
    let (status, _, told) = runtime(&f16);
    assert_eq!(status, 2, "{told}");
    assert!(told.contains("cpu/cpu does not compute in f16"), "{told}");
    let tutorial = ["check", "examples/tutorial.yaml"];
    let (_, out, _) = runtime(&tutorial);
    let note = "distort: `brightness` changes nothing, as `whiten` takes it out again exactly";
    assert!(out.contains(note), "{out}");
    let other = "stages.whiten={ from: distort, normalizer: { mean: 120, deviation: 64 } }";
    assert!(!runtime(&[&tutorial[..], &["--set", other]].concat()).1.contains("note["));
    assert!(!runtime(&["check", "pipeline.yaml"]).1.contains("note["));
    let set = ["check", "pipeline.yaml", "--set", "stages.batch.batcher.size=64"];
    assert!(runtime(&set).1.contains("batches 64 x f32[24, 24, 3]"));
}

#[test]
fn files_that_cannot_be_read_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).expect("the file is written");
    };
    file("binary.yaml", b"seed: \xff\xfe");
    file("huge.yaml", "[{a: ".repeat(2_000_000).as_bytes());
    file("deep.yaml", "[{a: ".repeat(200_000).as_bytes());
    for (name, expected) in [
        ("absent.yaml", "cannot read absent.yaml: "),
        (".", "cannot read .: "),
        ("binary.yaml", "cannot read binary.yaml: it is not UTF-8 text (byte 6)"),
        ("huge.yaml", "cannot read huge.yaml: a pipeline has at most 1048576 bytes"),
        ("deep.yaml", "too deeply nested"),
    ] {
        for verb in ["check", "run", "graph"] {
            let (status, out, told) = runtime_in(folder.path(), &[verb, name]);
            assert_eq!((status, &*out), (2, ""), "{name}");
            assert!(told.starts_with("error: ") && told.contains(expected), "{name}: {told}");
        }
    }
}

#[test]
fn wrong_command_lines_end_with_2() {
    for arguments in [
        &["chekc"][..],
        &[],
        &["check"],
        &["check", "pipeline.yaml", "--set", "no_value"],
        &["check", "pipeline.yaml", "--sett", "a=1"],
        &["graph", "pipeline.yaml", "--format", "png"],
        &["completions", "dos"],
        &["inspect", "croper"],
    ] {
        let (status, out, told) = runtime(arguments);
        assert_eq!((status, &*out), (2, ""), "{arguments:?}: {told}");
        assert!(!told.is_empty());
    }
    assert!(runtime(&["inspect", "croper"]).2.contains("did you mean `cropper`?"));
    assert!(runtime(&["chekc"]).2.contains("check"));
}

#[test]
fn a_failed_run_ends_with_1() {
    let arguments = ["run", "pipeline.yaml", "--adapter", "cpu", "--data", "no/such/folder"];
    let (status, _, told) = runtime(&arguments);
    assert_eq!(status, 1, "{told}");
    assert!(told.starts_with("error: ") && told.contains("no/such/folder"), "{told}");
}

#[test]
fn everything_that_is_listed_can_be_inspected() {
    let (status, out, _) = runtime(&["list"]);
    assert_eq!(status, 0);
    let kinds: Vec<&str> = out
        .lines()
        .take_while(|line| !line.starts_with("Warnings and notes"))
        .filter_map(|line| line.strip_prefix("  "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(kinds.contains(&"cropper") && kinds.contains(&"conv2d"), "{out}");
    for kind in kinds {
        let (status, out, _) = runtime(&["inspect", kind]);
        assert_eq!(status, 0, "{kind}");
        assert!(out.starts_with(kind) && out.contains("Example:"), "{out}");
    }
    let (_, cropper, _) = runtime(&["inspect", "cropper"]);
    assert!(cropper.contains("size: whole number or list of 2 whole numbers, default 24"));
}

#[test]
fn drawings_and_scripts_are_printed() {
    let (status, dot, _) = runtime(&["graph", "pipeline.yaml"]);
    assert_eq!(status, 0);
    assert!(
        dot.starts_with("digraph") && dot.contains("-> \"crop\" [label=\"images u8[32, 32, 3]\"]")
    );
    let (_, mermaid, _) = runtime(&["graph", "pipeline.yaml", "--format", "mermaid"]);
    assert!(mermaid.starts_with("flowchart") && mermaid.contains("-->|\"images u8[32, 32, 3]\"|"));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (status, script, _) = runtime(&["completions", shell]);
        assert!(status == 0 && script.contains("inspect"), "{shell}");
    }
}

#[test]
fn the_schema_refers_to_nothing_that_is_missing_and_allows_nothing_unknown() {
    fn references<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
        match value {
            serde_json::Value::Object(entries) => {
                found.extend(entries.get("$ref").and_then(serde_json::Value::as_str));
                entries.values().for_each(|value| references(value, found));
            }
            serde_json::Value::Array(items) => {
                items.iter().for_each(|value| references(value, found));
            }
            _ => {}
        }
    }
    let (status, out, _) = runtime(&["schema"]);
    assert_eq!(status, 0);
    let schema: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let mut found = Vec::new();
    references(&schema, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("a reference into the schema");
        assert!(schema.pointer(pointer).is_some(), "{reference}");
    }
    assert_eq!(schema["additionalProperties"], false);
    for name in ["cropper", "model", "model.conv2d", "reducer"] {
        assert_eq!(schema["$defs"][name]["additionalProperties"], false, "{name}");
    }
    let layer = &schema["$defs"]["model"]["properties"]["layers"]["items"]["$ref"];
    assert_eq!(layer, "#/$defs/model.part");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = common::runtime(&root(), &["schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
}

#[test]
fn any_bytes_give_an_error_and_no_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = std::fs::read(root().join("pipeline.yaml")).expect("the pipeline");
    let path = folder.path().join("broken.yaml");
    let mut state = 7_u64;
    let mut random = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..60 {
        let mut bytes = good.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        let mut file = std::fs::File::create(&path).expect("the file");
        file.write_all(&bytes).expect("the file is written");
        let (status, _, told) = runtime_in(folder.path(), &["check", "broken.yaml"]);
        assert!(status == 0 || (status == 2 && told.starts_with("error: ")), "{status}: {told}");
    }
}
