//! `runtime new`: the beginnings of a program with stages and sinks of one's own, or of a pipeline.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::new_file::{NewFile, new_folder};
use super::output::{Failure, print};

const EXAMPLES: &str = "\
Examples:
  runtime new my_stages               a crate with a stage and a layer of its own, to change
  runtime new --pipeline first        first.yaml, a pipeline with comments

What is there already is left alone: nothing is ever overwritten.";

/// Writes a crate with a stage, a layer, its kernels and its own `main`; or a pipeline.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The name of the crate and its folder, or of the pipeline's file.
    #[arg(value_name = "NAME")]
    name: String,

    /// Writes a pipeline with comments, NAME.yaml, instead of a crate.
    #[arg(long)]
    pipeline: bool,

    /// Where Gradflow's sources are, which the crate is built with [default: where this command was
    /// built].
    #[arg(long, value_name = "DIR", conflicts_with = "pipeline")]
    source: Option<PathBuf>,
}

/// The name that a crate's files have as they lie here.
const NAME: &str = "my_stage";
/// Where Gradflow's sources are as seen from there.
const SOURCE: &str = "\"../..\"";

/// The files of a crate: those of the example, which is built and run by the tests.
const FILES: [(&str, &str); 9] = [
    ("Cargo.toml", include_str!("../../../examples/my_stage/Cargo.toml")),
    (".gitignore", include_str!("../../../examples/my_stage/.gitignore")),
    ("pipeline.yaml", include_str!("../../../examples/my_stage/pipeline.yaml")),
    ("src/main.rs", include_str!("../../../examples/my_stage/src/main.rs")),
    ("src/losses.rs", include_str!("../../../examples/my_stage/src/losses.rs")),
    ("src/posterizer.rs", include_str!("../../../examples/my_stage/src/posterizer.rs")),
    ("src/leaky_relu.rs", include_str!("../../../examples/my_stage/src/leaky_relu.rs")),
    (
        "src/leaky_relu_forward.wgsl",
        include_str!("../../../examples/my_stage/src/leaky_relu_forward.wgsl"),
    ),
    (
        "src/leaky_relu_backward.wgsl",
        include_str!("../../../examples/my_stage/src/leaky_relu_backward.wgsl"),
    ),
];

const PIPELINE: &str = include_str!("new_pipeline.yaml");

pub(super) fn new(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.pipeline { pipeline(&arguments.name) } else { package(arguments) }
}

fn pipeline(name: &str) -> Result<(), Failure> {
    let mut path = PathBuf::from(name);
    if path.extension().is_none_or(|ending| ending != "yaml" && ending != "yml") {
        path.as_mut_os_string().push(".yaml");
    }
    NewFile::create(&path)?.write(PIPELINE)?;
    let file = path.display();
    print(&format!("{file} is a pipeline. Next:\n  runtime check {file}\n  runtime run {file}\n"))
}

fn package(arguments: &Arguments) -> Result<(), Failure> {
    let name = &arguments.name;
    if let Some(wrong) = wrong_name(name) {
        return Err(Failure::Usage {
            message: format!("`{name}` cannot name a crate: {wrong}"),
            help: Some("a name such as `my_stages`".to_owned()),
        });
    }
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_owned);
    let source = arguments.source.clone().or(built).unwrap_or_default();
    let source = sources(&source).map_err(|error| Failure::Usage {
        message: format!("{error:#}"),
        help: Some("say with `--source DIR` where Gradflow's sources are".to_owned()),
    })?;
    write(Path::new(name), name, &source)?;
    print(&format!(
        "{name} is a crate with a stage and a layer of its own. Next:\n  cd {name}\n  cargo test \
         --release\n  cargo run --release -- run pipeline.yaml\n"
    ))
}

/// Folders that Cargo builds into, and crates that come with Rust.
const OF_CARGO: [&str; 10] = [
    "alloc",
    "build",
    "core",
    "deps",
    "examples",
    "incremental",
    "proc-macro",
    "proc_macro",
    "std",
    "test",
];

/// Keywords, from the Rust reference, edition 2024, those that are reserved among them.
const OF_RUST: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

fn wrong_name(name: &str) -> Option<&'static str> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !name.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
        Some("it begins with no letter")
    } else if !name.chars().all(is_plain) {
        Some("it has more than letters, digits, `_` and `-`")
    } else if name.len() > 64 {
        Some("it is longer than 64 letters")
    } else if ["gradflow", "shaders", "stages"].contains(&name) {
        Some("there is another crate of that name")
    } else if OF_CARGO.contains(&name) || OF_RUST.contains(&name) {
        Some("it means something else to Rust or Cargo")
    } else {
        None
    }
}

/// The folder of Gradflow's sources, from the root, as TOML writes paths on any platform.
fn sources(folder: &Path) -> Result<String> {
    let whole =
        fs::canonicalize(folder).with_context(|| format!("there is no {}", folder.display()))?;
    for part in ["runtime/gradflow/lib.rs", "Cargo.toml"] {
        if !whole.join(part).is_file() {
            bail!("{} does not hold Gradflow's sources: it has no {part}", folder.display());
        }
    }
    let path = whole.to_str().with_context(|| format!("{} is no text", whole.display()))?;
    Ok(short(path).replace('\\', "/").replace('"', "\\\""))
}

/// A path without what Windows puts before those that may be long: `\\?\C:\a` is `C:\a`, and
/// `\\?\UNC\server\share` is `\\server\share`.
fn short(path: &str) -> String {
    match path.strip_prefix(r"\\?\UNC\") {
        Some(rest) => format!(r"\\{rest}"),
        None => path.strip_prefix(r"\\?\").unwrap_or(path).to_owned(),
    }
}

/// Writes the crate into a folder that is not there yet.
fn write(folder: &Path, name: &str, source: &str) -> Result<(), Failure> {
    new_folder(folder, |inside| fill(inside, name, source))
}

fn fill(folder: &Path, name: &str, source: &str) -> Result<()> {
    fs::create_dir(folder.join("src")).context("could not make its folder `src`")?;
    for (file, text) in FILES {
        let text = match file {
            "Cargo.toml" => text
                .replace(&format!("\"{NAME}\""), &format!("\"{name}\""))
                .replace(SOURCE, &format!("\"{source}\"")),
            _ => text.to_owned(),
        };
        let path = folder.join(file);
        fs::write(&path, text).with_context(|| format!("could not write its {file}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cargo_would_refuse_are_refused() {
        for right in ["a", "my_stage", "my-stages2"] {
            assert_eq!(wrong_name(right), None);
        }
        for wrong in
            ["", "2d", "../up", "a b", "été", "stages", "deps", "core", "async", &"a".repeat(65)]
        {
            assert!(wrong_name(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn only_the_manifest_is_different_and_what_is_there_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = folder.path().join("mine");
        write(&made, "mine", "/opt/gradflow").expect("it is new");
        let read = |file: &str| fs::read_to_string(made.join(file)).expect(file);
        let manifest = read("Cargo.toml");
        assert!(manifest.contains("name = \"mine\""), "{manifest}");
        assert!(manifest.contains("path = \"/opt/gradflow\""), "{manifest}");
        assert!(!manifest.contains(NAME) && !manifest.contains(SOURCE), "{manifest}");
        for (file, text) in FILES.iter().filter(|(file, _)| *file != "Cargo.toml") {
            assert_eq!(read(file), *text);
        }
        assert!(write(&made, "mine", "/elsewhere").is_err());
        assert_eq!(read("Cargo.toml"), manifest);
    }

    #[test]
    fn paths_of_windows_are_as_people_write_them() {
        assert_eq!(short(r"\\?\C:\a\b"), r"C:\a\b");
        assert_eq!(short(r"\\?\UNC\server\share\b"), r"\\server\share\b");
        assert_eq!(short("/a/b"), "/a/b");
    }

    #[test]
    fn sources_are_looked_at() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(sources(&here.join("../..")).is_ok());
        let error = sources(here).expect_err("a part").to_string();
        assert!(error.contains("has no runtime/gradflow/lib.rs"), "{error}");
        assert!(sources(Path::new("/nonexistent")).is_err());
    }
}
