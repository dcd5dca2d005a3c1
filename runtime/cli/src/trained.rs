//! A checkpoint as the verbs use it that evaluate and predict: what there is to say of it is printed.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::App;
use super::output::{Failure, complain, tell};
use compute::settings::ComputeSettings;
use flow::environment;
use flow::plan::Plan;
use flow::reports::ImageSet;
use flow::stage::RunSettings;
use inference::{Change, Error, Trained};
use record::run_folder;

/// What is named: a file or a folder, or else a run where runs are kept, as `--resume` finds it.
///
/// # Errors
/// If there is neither; the message says which runs there are.
pub(super) fn find(named: &Path, runs: &Path) -> Result<PathBuf, Failure> {
    if named.exists() {
        return Ok(named.to_owned());
    }
    run_folder::find(runs, Some(&named.to_string_lossy())).map_err(|error| Failure::Usage {
        message: format!("there is no such file, and {error}"),
        help: None,
    })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Pipeline(diagnostics) => Self::Pipeline(diagnostics),
            Error::Usage { message, help } => Self::Usage { message, help },
            Error::Other(error) => Self::Run(error),
            error => Self::Run(error.into()),
        }
    }
}

/// The checkpoint in this file, or the latest good one of this run, or its best.
pub(super) fn read(path: &Path, best: bool) -> Result<Trained, Failure> {
    told(Trained::read(path, best)).map_err(Failure::Run)
}

/// The latest good checkpoint of a run.
pub(super) fn latest(run: &Path) -> Result<Trained> {
    told(Trained::latest(run))
}

fn told(trained: Result<Trained>) -> Result<Trained> {
    let trained = trained?;
    trained.warnings.iter().for_each(|warning| complain(&format!("warning: {warning}\n")));
    Ok(trained)
}

/// The pipeline with which a checkpoint was trained, with these changes in the stages that its
/// evaluations need.
pub(super) fn plan(
    app: &App,
    trained: &Trained,
    changes: &[Change],
    adapter: Option<&str>,
    data: Option<&Path>,
) -> Result<Plan, Failure> {
    let compute = ComputeSettings::on(adapter.map(str::to_owned));
    let base = RunSettings { compute, ..environment::settings(data.map(Path::to_owned)) };
    let (plan, warnings) = trained.plan(&app.kinds, changes, &base)?;
    tell(&warnings);
    Ok(plan)
}

/// The whole pipeline with which a checkpoint was trained.
pub(super) fn whole(app: &App, trained: &Trained) -> Result<Plan, Failure> {
    let (plan, warnings) = trained.whole(&app.kinds, &environment::settings(None))?;
    tell(&warnings);
    Ok(plan)
}

/// The images that a checkpoint was trained on, if that is known.
pub(super) fn images(trained: &Trained) -> Option<ImageSet> {
    trained.images().unwrap_or_else(|error| {
        complain(&format!("warning: {error:#}\n"));
        None
    })
}

/// Says by which stage images are scored, where several could.
pub(super) fn tell_choice(plan: &Plan) {
    if let Some(choice) = inference::scorer_choice(plan) {
        complain(&format!("{choice}\n"));
    }
}
