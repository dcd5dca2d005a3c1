//! Project chores: `cargo xtask test` runs all tests, `cargo xtask check` everything that must
//! hold before a change lands, cheapest first.

mod vulkan;

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND [--no-install]

  test    all tests; without any Vulkan driver on Linux, first installs Mesa's software Vulkan
          where it may (root or passwordless sudo, and apt-get), and says so
  check   formatting, lints, shader translation, then `test`; cheapest first

  --no-install   install nothing: GPU tests without an adapter then say that they were skipped";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let install = !arguments.iter().any(|argument| argument == "--no-install");
    let commands: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|a| *a != "--no-install").collect();
    let result = match commands.as_slice() {
        ["test"] => test(install),
        ["check"] => check(install),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(install: bool) -> Result<()> {
    cargo(&["fmt", "--all", "--check"], &[])?;
    let lints = ["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"];
    cargo(&lints, &[])?;
    cargo(&["test", "--release", "--workspace", "--test", "shaders"], &no_skip())?;
    test(install)
}

fn test(install: bool) -> Result<()> {
    if install {
        vulkan::ensure()?;
    }
    cargo(&["test", "--release", "--workspace"], &no_skip())
}

/// In CI a skipped test is a failure.
fn no_skip() -> Vec<(&'static str, &'static str)> {
    if std::env::var_os("CI").is_some_and(|value| !value.is_empty()) {
        vec![("GRADFLOW_NO_SKIP", "1")]
    } else {
        Vec::new()
    }
}

fn cargo(arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    println!("xtask: cargo {}", arguments.join(" "));
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo)
        .args(arguments)
        .envs(variables.iter().copied())
        .status()
        .context("could not start cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    Ok(())
}
