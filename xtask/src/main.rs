//! Project chores: `cargo xtask test` runs all tests, `cargo xtask check` everything that must
//! hold before a change lands, cheapest first, `cargo xtask modules` a part of that by itself.

mod cargo;
mod format;
mod linters;
mod modules;
mod steps;
mod suite;
mod tools;
mod watch;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use steps::Steps;
use suite::Suite;

const USAGE: &str = "\
usage: cargo xtask COMMAND [OPTIONS]

  test [NAME..]
          all tests, or those programs of tests whose path contains one of the names; first installs what they need beside Rust and is not there, where it may
          (root or passwordless sudo, and apt-get), and says so: Mesa's software Vulkan, checkers
          of translated shaders, a browser, Open MPI with its headers and libclang; and Python
          packages below `target`
  fmt [--check]
          formats all Rust files, those that macros declare as modules among them, which `cargo fmt`
          does not see; or says which are not formatted
  check   formatting, `modules`, spelling and dependencies where `typos` and `cargo-deny` are installed,
          lints, shader translation, then `test`; cheapest first
  modules no module of a crate may import another that imports it, directly or through others

  --no-install         install nothing: tests that lack something then say that they were skipped
  --patience MINUTES   how long a test program may print nothing before it is killed and its tests
                       are named: 20
  --profile NAME       the profile to build with: release";

/// Names the Python that the tests read files back with, and write data sets.
const PYTHON: &str = "GRADFLOW_PYTHON";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    command: String,
    names: Vec<String>,
    install: bool,
    /// Whether files are left as they are.
    check: bool,
    patience: Duration,
    profile: String,
}

impl Options {
    /// `None` if the arguments are wrong.
    fn parse(arguments: impl IntoIterator<Item = String>) -> Option<Self> {
        let mut arguments = arguments.into_iter();
        let mut options = Self {
            command: String::new(),
            names: Vec::new(),
            install: true,
            check: false,
            patience: Duration::from_secs(20 * 60),
            profile: "release".to_owned(),
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--no-install" => options.install = false,
                "--check" => options.check = true,
                "--patience" => {
                    let minutes: u64 = arguments.next()?.parse().ok().filter(|n| *n > 0)?;
                    options.patience = Duration::from_secs(minutes.checked_mul(60)?);
                }
                "--profile" => options.profile = arguments.next()?,
                option if option.starts_with('-') => return None,
                command if options.command.is_empty() => command.clone_into(&mut options.command),
                _ => options.names.push(argument),
            }
        }
        match options.command.as_str() {
            "test" => Some(options),
            "check" | "fmt" | "modules" => options.names.is_empty().then_some(options),
            _ => None,
        }
    }

    /// What every build has in common, so that each makes use of the others.
    fn build(&self) -> [&str; 3] {
        ["--workspace", "--profile", &self.profile]
    }
}

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    match options.command.as_str() {
        "modules" => return modules::check(),
        "fmt" => return format::run(options.check),
        _ => {}
    }
    let mut steps = Steps::default();
    let mut suite = Suite::new(&options.names, options.patience);
    let done = match options.command.as_str() {
        "check" => check(options, &mut steps, &mut suite),
        _ => test(options, &mut steps, &mut suite),
    };
    println!("\n{}{}", steps.summary(), suite.summary());
    done.and_then(|()| suite.verdict())
}

fn check(options: &Options, steps: &mut Steps, suite: &mut Suite) -> Result<()> {
    let lints = |features: &[&'static str]| {
        let all = [&["clippy"], &options.build()[..], &["--all-targets"], features].concat();
        [&all[..], &["--", "-D", "warnings"]].concat()
    };
    steps.step("fmt", || format::run(true))?;
    steps.step("modules", modules::check)?;
    linters::run(steps)?;
    steps.cargo(&lints(&[]), &[])?;
    let shaders = [&options.build()[..], &["--test", "shaders"]].concat();
    suite.run(steps, &shaders, &no_skip())?;
    suite.verdict()?;
    test(options, steps, suite)?;
    if tools::has_mpi() {
        steps.cargo(&lints(&["--features", "mpi"]), &[])?;
    }
    Ok(())
}

fn test(options: &Options, steps: &mut Steps, suite: &mut Suite) -> Result<()> {
    let mut variables = no_skip();
    let mut python = None;
    if options.install {
        python = steps.step("install what the tests need", || {
            tools::ensure_packages()?;
            if std::env::var_os(PYTHON).is_none() { tools::ensure_python() } else { Ok(None) }
        })?;
    }
    let python = python.as_deref().map(Path::to_string_lossy);
    variables.extend(python.as_deref().map(|python| (PYTHON, python)));
    suite.run(steps, &options.build(), &variables)?;
    suite.run_documentation(steps, &options.build(), &variables)?;
    several_processes(options, steps, suite, &variables)
}

/// The tests that need an MPI. All else is built for the tests before: what is compiled here are the
/// crates of MPI, and those that join processes.
fn several_processes(
    options: &Options,
    steps: &mut Steps,
    suite: &mut Suite,
    variables: &[(&str, &str)],
) -> Result<()> {
    if !tools::has_mpi() {
        let missing = "no Open MPI with its headers, or no libclang";
        if variables.contains(&NO_SKIP) {
            bail!("missing: {missing}");
        }
        println!("xtask: {missing}: the tests of several processes are left out");
        return Ok(());
    }
    if !suite.is_asked_for("tests/ranks.rs") {
        return Ok(());
    }
    let tests = [&options.build()[..], &["--features", "mpi", "--test", "ranks"]].concat();
    suite.run(steps, &tests, variables)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Options> {
        Options::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_may_come_before_and_after_the_command() {
        let expected = Options {
            command: "test".to_owned(),
            names: vec!["cli".to_owned(), "towers".to_owned()],
            install: false,
            check: false,
            patience: Duration::from_secs(180),
            profile: "dev".to_owned(),
        };
        let found = parse("--no-install test cli --patience 3 towers --profile dev");
        assert_eq!(found, Some(expected));
        assert_eq!(parse("check").map(|options| options.profile).as_deref(), Some("release"));
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for wrong in [
            "",
            "tset",
            "check cli",
            "modules cli",
            "test --all",
            "test --patience",
            "test --patience 0",
            "--profile",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
