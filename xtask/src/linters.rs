//! Checks by programs that are not part of Rust: spelling, and what the crates are that others depend
//! on. Nothing installs them here; where one is missing, that is said.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::steps::Steps;
use crate::tools;

/// A program, and how to come by it.
struct Linter {
    program: &'static str,
    arguments: Vec<&'static str>,
    install: &'static str,
}

fn linters(has_advisories: bool) -> [Linter; 2] {
    let mut deny = vec!["--workspace", "--offline", "check", "bans", "licenses", "sources"];
    if has_advisories {
        deny.push("advisories");
    }
    [
        Linter {
            program: "typos",
            arguments: vec![],
            install: "`cargo install --locked typos-cli` or `pip install typos`",
        },
        Linter {
            program: "cargo-deny",
            arguments: deny,
            install: "`cargo install --locked cargo-deny`",
        },
    ]
}

/// # Errors
/// If one of them finds something.
pub(crate) fn run(steps: &mut Steps) -> Result<()> {
    let advisories = advisories();
    let has_advisories = advisories.as_deref().is_some_and(Path::is_dir);
    for Linter { program, arguments, install } in linters(has_advisories) {
        if !tools::has_program(program) {
            println!("xtask: no {program}, which {install} installs: its check is left out");
            continue;
        }
        steps.step(&[&[program], &arguments[..]].concat().join(" "), || {
            let status = Command::new(program).args(&arguments).status();
            if !status.with_context(|| format!("could not start {program}"))?.success() {
                bail!("`{program}` found what is told above");
            }
            Ok(())
        })?;
        if program == "cargo-deny" && !has_advisories {
            println!("xtask: `cargo deny fetch` brings what is known of weaknesses of crates");
        }
    }
    Ok(())
}

/// Where cargo-deny keeps what is known of weaknesses of crates.
fn advisories() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    Some(home.or_else(|| Some(std::env::home_dir()?.join(".cargo")))?.join("advisory-dbs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_downloaded() {
        for has_advisories in [false, true] {
            let [typos, deny] = linters(has_advisories);
            assert!(typos.arguments.is_empty());
            assert!(deny.arguments.contains(&"--offline"));
            assert_eq!(deny.arguments.contains(&"advisories"), has_advisories);
        }
    }
}
