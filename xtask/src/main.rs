//! Project chores: `cargo xtask test` runs all tests, `cargo xtask check` everything that must
//! hold before a change lands, cheapest first.

mod tools;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND [--no-install]

  test    all tests; first installs what they need beside Rust and is not there, where it may
          (root or passwordless sudo, and apt-get), and says so: Mesa's software Vulkan, checkers
          of translated shaders, a browser, Open MPI with its headers and libclang; and Python
          packages below `target`
  check   formatting, lints, shader translation, then `test`; cheapest first

  --no-install   install nothing: tests that lack something then say that they were skipped";

/// Names the Python that the tests read files back with, and write data sets.
const PYTHON: &str = "GRADFLOW_PYTHON";

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
    test(install)?;
    if tools::has_mpi() {
        let feature = ["--features", "mpi", "--", "-D", "warnings"];
        cargo(&[&lints[..4], &feature[..]].concat(), &[])?;
    }
    Ok(())
}

fn test(install: bool) -> Result<()> {
    let mut variables = no_skip();
    let mut python = None;
    if install {
        tools::ensure_packages()?;
        if std::env::var_os(PYTHON).is_none() {
            python = tools::ensure_python()?;
        }
    }
    let python = python.as_deref().map(Path::to_string_lossy);
    variables.extend(python.as_deref().map(|python| (PYTHON, python)));
    cargo(&["test", "--release", "--workspace"], &variables)?;
    several_processes(&variables)
}

/// The tests that need an MPI. All else is built for the tests before: what is compiled here are the
/// crates of MPI, and those that join processes.
fn several_processes(variables: &[(&str, &str)]) -> Result<()> {
    if !tools::has_mpi() {
        let missing = "no Open MPI with its headers, or no libclang";
        if variables.contains(&NO_SKIP) {
            bail!("missing: {missing}");
        }
        println!("xtask: {missing}: the tests of several processes are left out");
        return Ok(());
    }
    let tests = ["test", "--release", "--workspace", "--features", "mpi", "--test", "ranks"];
    cargo(&tests, variables)
}

const NO_SKIP: (&str, &str) = ("GRADFLOW_NO_SKIP", "1");

/// In CI a skipped test is a failure.
fn no_skip() -> Vec<(&'static str, &'static str)> {
    if std::env::var_os("CI").is_some_and(|value| !value.is_empty()) {
        vec![NO_SKIP]
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
