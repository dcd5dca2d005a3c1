//! `runtime test`: the tests in a pipeline's YAML.

use anyhow::anyhow;
use clap::Args;

use super::App;
use super::output::{Failure, indent, print, tell};
use super::pipeline;
use flow::run_trial::run_trial;
use flow::stage::RunSettings;

const EXAMPLES: &str = "\
Examples:
  runtime test pipeline.yaml
  runtime test pipeline.yaml whiten     only tests with `whiten` in their name

A test in a pipeline's file says what becomes of an image, here a drawing, on its way to a stage:
  tests:
    a_whitened_drawing:
      { image: 3, stage: whiten, shape: [24, 24, 3], range: [-5, 5], mean: 0, deviation: 1 }

Exit status: 1 if a test failed.";

/// Runs the tests in a pipeline's file: images go through stages, and come out as expected or not.
///
/// Nothing is trained, and no data set is opened: the images are files, or drawings made up.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: pipeline::Arguments,

    /// Only tests with this in their name.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn test(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let folder = arguments.pipeline.folder();
    let base = RunSettings { folder, ..RunSettings::default() };
    let (plan, warnings) = arguments.pipeline.check(app, &base)?;
    tell(&warnings);
    let wanted = arguments.name.as_deref().unwrap_or_default();
    let trials: Vec<_> =
        plan.trials.into_iter().filter(|(name, _)| name.contains(wanted)).collect();
    if trials.is_empty() {
        let file = arguments.pipeline.file.display();
        return Err(Failure::Usage {
            message: match &arguments.name {
                None => format!("there are no tests in {file}"),
                Some(name) => format!("no test in {file} has `{name}` in its name"),
            },
            help: Some("`runtime test --help` shows one".to_owned()),
        });
    }
    let mut failed = 0;
    let mut details = String::new();
    print(&format!("running {}\n", counted(trials.len())))?;
    for (name, trial) in &trials {
        // Running takes a plan apart.
        let (plan, _) = arguments.pipeline.check(app, &base)?;
        let lines = run_trial(trial, plan).unwrap_or_else(|error| vec![format!("{error:#}")]);
        let result = if lines.is_empty() { "ok" } else { "FAILED" };
        print(&format!("test {name} ... {result}\n"))?;
        if !lines.is_empty() {
            failed += 1;
            details +=
                &format!("\n{name}, behind `{}`:\n{}", trial.stage, indent(&lines.join("\n"), 2));
        }
    }
    print(&format!("{details}\n{} passed, {failed} failed\n", trials.len() - failed))?;
    match failed {
        0 => Ok(()),
        _ => Err(Failure::Run(anyhow!("{failed} of {} failed", counted(trials.len())))),
    }
}

fn counted(tests: usize) -> String {
    if tests == 1 { "1 test".to_owned() } else { format!("{tests} tests") }
}
