//! The pipeline that a verb is about.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::App;
use super::output::{Failure, tell};
use compute::settings::ComputeSettings;
use config::diagnostic::{Diagnostic, Severity};
use config::yaml::TEXT_MAX;
use flow::environment;
use flow::plan::Plan;
use flow::stage::RunSettings;

/// Which pipeline, and what to change in it.
#[derive(Clone, Debug, Args)]
// It is part of other arguments, and groups of one name are refused.
#[group(skip)]
pub(super) struct Arguments {
    /// The pipeline file.
    #[arg(value_name = "PIPELINE")]
    pub(super) file: PathBuf,

    /// Replaces a value of the pipeline, such as `stages.batch.batcher.size=64`.
    ///
    /// PATH is made of the keys that lead to the value, with dots between them; elements of lists
    /// are counted from 0. VALUE is YAML. May be given more than once. A value behind an anchor changes
    /// wherever it stands, unless another --set names that place; an alias by itself is replaced alone.
    /// A run's own pipeline.yaml, which --resume takes, has no anchors.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = assignment)]
    pub(super) set: Vec<(String, String)>,
}

pub(super) fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((path, value)) if !path.is_empty() => Ok((path.to_owned(), value.to_owned())),
        _ => Err("expected PATH=VALUE, such as `epochs=1`".to_owned()),
    }
}

impl Arguments {
    /// The checked pipeline; tells warnings on the way.
    pub(super) fn load(
        &self,
        app: &App,
        data: Option<PathBuf>,
        adapter: Option<String>,
    ) -> Result<Plan, Failure> {
        self.load_with(app, &self.base(data, adapter))
    }

    /// What the command line and the environment say of this pipeline.
    pub(super) fn base(&self, data: Option<PathBuf>, adapter: Option<String>) -> RunSettings {
        RunSettings {
            compute: ComputeSettings::on(adapter),
            folder: self.folder(),
            ..environment::settings(data)
        }
    }

    /// The folder that relative paths start from.
    pub(super) fn folder(&self) -> PathBuf {
        self.file.parent().map(Path::to_owned).unwrap_or_default()
    }

    /// The text of the file.
    pub(super) fn text(&self) -> Result<String, Failure> {
        read(&self.file).map_err(|why| Failure::Usage {
            message: format!("cannot read {}: {why}", self.file.display()),
            help: None,
        })
    }

    /// The checked pipeline of a run of which this is known beforehand; tells warnings on the way.
    pub(super) fn load_with(&self, app: &App, base: &RunSettings) -> Result<Plan, Failure> {
        let (plan, mut told) = self.check(app, base)?;
        told.retain(|one| one.severity != Severity::Note);
        tell(&told);
        Ok(plan)
    }

    /// The same, with warnings and notes that may have been told before.
    pub(super) fn check(
        &self,
        app: &App,
        base: &RunSettings,
    ) -> Result<(Plan, Vec<Diagnostic>), Failure> {
        let text = self.text()?;
        let name = self.file.display().to_string();
        Plan::load(&app.kinds, &name, &text, &self.set, base).map_err(Failure::Pipeline)
    }
}

fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    // One byte more than is allowed: whoever reads the text tells that it is too long.
    let limit = TEXT_MAX as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() > TEXT_MAX {
        return Err(format!("a pipeline has at most {TEXT_MAX} bytes, and this has more"));
    }
    String::from_utf8(bytes).map_err(|error| {
        format!("it is not UTF-8 text (byte {})", error.utf8_error().valid_up_to())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_cut_at_the_first_equals_sign() {
        assert_eq!(assignment("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert_eq!(assignment("a="), Ok(("a".to_owned(), String::new())));
        assert!(assignment("a").is_err());
        assert!(assignment("=a").is_err());
    }
}
