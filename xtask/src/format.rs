//! Formatting of all Rust files. `cargo fmt` follows `mod` lines and does not look for those that stand
//! inside of macros, as in `base::registry!`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

const EDITION: &str = "2024";

/// Folders that hold no source of ours.
const PASSED_OVER: [&str; 2] = ["target", "runs"];

/// Formats all files below the current folder, or only `check`s that they are formatted.
///
/// # Errors
/// If a file is not formatted and should be, or is no Rust.
pub(crate) fn run(check: bool) -> Result<()> {
    let mut files = Vec::new();
    collect(Path::new("."), &mut files)?;
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--edition", EDITION]).args(check.then_some("--check")).args(&files);
    if !rustfmt.status().context("could not start rustfmt")?.success() {
        let help = if check { "; `cargo xtask fmt` formats them" } else { "" };
        bail!("rustfmt told of what is above{help}");
    }
    Ok(())
}

/// All Rust files in a folder and below.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let is_passed_over = |name: &str| name.starts_with('.') || PASSED_OVER.contains(&name);
        if name.to_str().is_some_and(is_passed_over) {
            continue;
        }
        // Links lead to folders that are walked anyway, or out of here.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&path, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_wherever_they_lie_but_not_among_what_was_built() {
        let folder = tempfile::tempdir().expect("a folder");
        for file in ["a.rs", "b/c.rs", "b/d.toml", "target/e.rs", ".git/f.rs", "b/target/g.rs"] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, "").expect("written");
        }
        let mut files = Vec::new();
        collect(folder.path(), &mut files).expect("they are read");
        assert_eq!(files, ["a.rs", "b/c.rs"].map(|file| folder.path().join(file)));
    }
}
