//! Builds the programs of the tests and runs one after the other, as `cargo test` does, but so that
//! one which hangs is killed and named, and all others still run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cargo::{self, text_field};
use crate::steps::{Steps, seconds};
use crate::watch::{self, Outcome};

/// How many of the slowest are listed.
const SLOWEST: usize = 10;

/// A program of tests.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    /// Its main source file, from the root of the repository.
    name: String,
    executable: PathBuf,
    /// The folder of its package, in which it runs.
    folder: PathBuf,
}

/// All that was run.
pub(crate) struct Suite<'a> {
    /// Programs whose names contain one of these run; all if there are none.
    names: &'a [String],
    patience: Duration,
    outcomes: Vec<(String, Outcome)>,
}

impl<'a> Suite<'a> {
    pub(crate) fn new(names: &'a [String], patience: Duration) -> Self {
        Self { names, patience, outcomes: Vec::new() }
    }

    /// Whether this program is to be run.
    pub(crate) fn is_asked_for(&self, program: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| program.contains(name))
    }

    /// Builds the tests that `cargo test` with these arguments has, and runs them.
    pub(crate) fn run(
        &mut self,
        steps: &mut Steps,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<()> {
        let tests = format!("cargo test {}", arguments.join(" "));
        let mut programs =
            steps.step(&format!("build: {tests}"), || build(arguments, variables))?;
        programs.retain(|program| self.is_asked_for(&program.name));
        steps.step(&format!("run {} programs: {tests}", programs.len()), || {
            for program in programs {
                let mut command = program.command();
                command.envs(variables.iter().copied());
                self.watch(program.name, command)?;
            }
            Ok(())
        })
    }

    /// Runs the examples in the documentation.
    pub(crate) fn run_documentation(
        &mut self,
        steps: &mut Steps,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<()> {
        const NAME: &str = "documentation";
        if !self.is_asked_for(NAME) {
            return Ok(());
        }
        let arguments = [&["test"], arguments, &["--doc", "--no-fail-fast"]].concat();
        let name = format!("cargo {}", arguments.join(" "));
        let command = cargo::command(&arguments, variables);
        steps.step(&name, || self.watch(NAME.to_owned(), command))
    }

    fn watch(&mut self, name: String, command: Command) -> Result<()> {
        println!("\nxtask: {name}");
        let outcome = watch::run(command, self.patience)?;
        let took = seconds(outcome.time);
        match &outcome.hung {
            Some(tests) => println!("xtask: {name}: {}", hang(tests, self.patience)),
            None if !outcome.success => println!("xtask: {name} failed after {}", took.trim()),
            None => println!("xtask: {name} took {}", took.trim()),
        }
        self.outcomes.push((name, outcome));
        Ok(())
    }

    /// How many tests passed and failed, and which programs took longest.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::from("xtask: the slowest test programs (time, processor time)\n");
        let mut slowest: Vec<_> = self.outcomes.iter().collect();
        slowest.sort_by_key(|(_, outcome)| std::cmp::Reverse(outcome.time));
        for (name, outcome) in slowest.into_iter().take(SLOWEST) {
            let processor = outcome.processor.map_or_else(|| format!("{:>11}", "-"), seconds);
            text += &format!("{}{processor}  {name}\n", seconds(outcome.time));
        }
        let sum = |of: fn(&Outcome) -> Duration| -> Duration {
            self.outcomes.iter().map(|(_, outcome)| of(outcome)).sum()
        };
        let (time, processor) = (sum(|o| o.time), sum(|o| o.processor.unwrap_or_default()));
        text += &format!("{}{}  all test programs\n", seconds(time), seconds(processor));
        let count = |of: fn(&Outcome) -> u64| -> u64 {
            self.outcomes.iter().map(|(_, outcome)| of(outcome)).sum()
        };
        text + &format!("xtask: {} passed, {} failed\n", count(|o| o.passed), count(|o| o.failed))
    }

    /// # Errors
    /// With the names of the programs that failed, and of the tests that hung.
    pub(crate) fn verdict(&self) -> Result<()> {
        let failed = self.outcomes.iter().filter(|(_, outcome)| !outcome.success);
        let lines: Vec<String> = failed
            .map(|(name, outcome)| match &outcome.hung {
                Some(tests) => format!("{name}: {}", hang(tests, self.patience)),
                None => format!("{name}: {} tests failed", outcome.failed),
            })
            .collect();
        if self.outcomes.is_empty() {
            bail!("no program of tests has one of these in its path: {}", self.names.join(", "));
        }
        if !lines.is_empty() {
            bail!("{} test programs failed:\n  {}", lines.len(), lines.join("\n  "));
        }
        Ok(())
    }
}

fn hang(tests: &[String], patience: Duration) -> String {
    let which = match tests {
        [] => "an unknown test".to_owned(),
        tests => tests.join(", "),
    };
    format!("killed: no test ended for {} s; still running: {which}", patience.as_secs())
}

impl Program {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        cargo::forget_package(&mut command);
        // As cargo has it.
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }
}

fn build(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Vec<Program>> {
    let format = ["--no-run", "--message-format", "json-render-diagnostics"];
    let arguments = [&["test"], arguments, &format].concat();
    let mut command = cargo::command(&arguments, variables);
    let output = command.stderr(Stdio::inherit()).output().context("could not start cargo")?;
    if !output.status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    let root = std::env::current_dir()?;
    let messages = String::from_utf8(output.stdout)?;
    let programs: Vec<_> = messages.lines().filter_map(|line| program(line, &root)).collect();
    if programs.is_empty() {
        bail!("`cargo {}` built no tests", arguments.join(" "));
    }
    Ok(programs)
}

/// The program of tests that one of cargo's messages tells of.
fn program(message: &str, root: &Path) -> Option<Program> {
    let (_, profile) = message
        .strip_prefix(r#"{"reason":"compiler-artifact","#)
        .and_then(|message| message.split_once(r#""profile":{"#))?;
    if !profile.split('}').next()?.contains(r#""test":true"#) {
        return None;
    }
    let source = PathBuf::from(text_field(message, "src_path")?);
    let manifest = PathBuf::from(text_field(message, "manifest_path")?);
    let name = source.strip_prefix(root).unwrap_or(&source);
    Some(Program {
        name: name.display().to_string(),
        executable: text_field(message, "executable")?.into(),
        folder: manifest.parent()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as cargo prints it, for a test unless `test` is false.
    fn message(test: bool, executable: &str) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","package_id":"path+file:///g#0.1.0","manifest_path":"/g/runtime/Cargo.toml","target":{{"kind":["test"],"crate_types":["bin"],"name":"cli","src_path":"/g/runtime/tests/cli.rs","edition":"2024","doc":false,"doctest":false,"test":true}},"profile":{{"opt_level":"3","debuginfo":0,"debug_assertions":false,"overflow_checks":false,"test":{test}}},"features":[],"filenames":["/g/target/cli-1"],"executable":{executable},"fresh":true}}"#
        )
    }

    #[test]
    fn programs_of_tests_are_found_among_cargos_messages() {
        let found = program(&message(true, r#""/g/target/cli-1""#), Path::new("/g"));
        let expected = Program {
            name: "runtime/tests/cli.rs".to_owned(),
            executable: "/g/target/cli-1".into(),
            folder: "/g/runtime".into(),
        };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn a_name_that_no_program_has_is_an_error() {
        let names = ["twers".to_owned()];
        let told = Suite::new(&names, Duration::from_secs(60)).verdict().expect_err("none ran");
        assert!(told.to_string().ends_with("in its path: twers"), "{told}");
    }

    fn suite() -> Suite<'static> {
        let ended = |success, failed| Outcome { success, passed: 2, failed, ..Outcome::default() };
        let hung = Outcome { hung: Some(vec!["waits".to_owned()]), ..Outcome::default() };
        Suite {
            outcomes: vec![
                ("good.rs".to_owned(), ended(true, 0)),
                ("bad.rs".to_owned(), ended(false, 1)),
                ("stuck.rs".to_owned(), hung),
            ],
            ..Suite::new(&[], Duration::from_secs(60))
        }
    }

    #[test]
    fn what_failed_and_what_hung_is_named() {
        let error = suite().verdict().expect_err("two failed").to_string();
        assert!(error.contains("2 test programs failed"), "{error}");
        assert!(error.contains("bad.rs: 1 tests failed"), "{error}");
        assert!(error.contains("stuck.rs: killed: no test ended for 60 s"), "{error}");
        assert!(error.contains("still running: waits"), "{error}");
        assert!(!error.contains("good.rs"), "{error}");
        let mut good = suite();
        good.outcomes.truncate(1);
        assert!(good.verdict().is_ok());
    }

    #[test]
    fn programs_are_chosen_by_parts_of_their_paths() {
        let names = ["tests/cli".to_owned(), "runtime/".to_owned()];
        let suite = Suite::new(&names, Duration::ZERO);
        let asked = ["tests/cli.rs", "tests/towers.rs", "runtime/flow/src/lib.rs", "documentation"]
            .map(|name| suite.is_asked_for(name));
        assert_eq!(asked, [true, false, true, false]);
        assert!(Suite::new(&[], Duration::ZERO).is_asked_for("tests/towers.rs"));
    }

    #[test]
    fn the_summary_adds_up_all_programs() {
        assert!(
            suite().summary().ends_with("xtask: 4 passed, 1 failed\n"),
            "{}",
            suite().summary()
        );
    }

    #[test]
    fn what_is_no_test_is_passed_over() {
        let root = Path::new("/g");
        // A program that tests start, and one of a library's examples.
        assert_eq!(program(&message(false, r#""/g/target/runtime""#), root), None);
        assert_eq!(program(&message(true, "null"), root), None);
        assert_eq!(program(r#"{"reason":"build-finished","success":true}"#, root), None);
    }
}
