//! What is said of a pipeline, and where in it.

use std::collections::HashMap;

use super::Plan;
use crate::lint::Lint;
use crate::port::Port;
use crate::settings::RunSettings;
use config::decode::Problem;
use config::diagnostic::Severity;
use config::node::Path;

pub(super) fn stages_path() -> Path {
    Path::default().join(STAGES)
}

pub(super) const STAGES: &str = "stages";
pub(super) const FROM: &str = "from";

/// Something to be told, and what else matters about it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) problem: Problem,
    pub(super) notes: Vec<String>,
    /// Other places that belong to it, each with what is there.
    pub(super) others: Vec<Problem>,
    /// What it is called, if it can be switched off.
    pub(super) lint: Option<&'static Lint>,
}

impl From<Problem> for Finding {
    fn from(problem: Problem) -> Self {
        Self { problem, notes: Vec::new(), others: Vec::new(), lint: None }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// The plan, if there are no errors.
    pub(super) plan: Option<Plan>,
    pub(super) errors: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
    pub(super) notes: Vec<Finding>,
}

impl Checked {
    /// Adds a remark, unless it is switched off.
    pub(super) fn remark(&mut self, lint: &'static Lint, finding: Finding, run: &RunSettings) {
        if lint.is_allowed(run) {
            return;
        }
        let finding = Finding { lint: Some(lint), ..finding };
        match lint.severity {
            Severity::Note => self.notes.push(finding),
            Severity::Warning | Severity::Error => self.warnings.push(finding),
        }
    }
}

/// What a stage takes from which others.
pub(super) fn taken<'a>(
    id: &str,
    inputs: &[Port],
    sources: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let edges = inputs.iter().zip(sources);
    edges.map(|(port, name)| format!("{id} takes {port} from {name}")).collect()
}

/// Where a field of a stage is, and whether that is a key: without a field it is the stage's kind.
pub(super) fn path_of(id: &str, body: &Path, field: Vec<String>) -> (Path, bool) {
    let on_key = field.is_empty();
    let mut path = match field.first().is_some_and(|field| field == FROM) {
        true => stages_path().join(id),
        false => body.clone(),
    };
    path.0.extend(field);
    (path, on_key)
}

/// Where stages are written.
pub(super) struct Places(HashMap<String, Path>);

impl Places {
    /// Those of stages with their ids, and where their fields are.
    pub(super) fn of<'a>(stages: impl Iterator<Item = (&'a str, &'a Path)>) -> Self {
        Self(stages.map(|(id, body)| (id.to_owned(), body.clone())).collect())
    }

    /// Something at a field of a stage, or at its kind.
    pub(super) fn problem(
        &self,
        id: &str,
        field: Vec<String>,
        message: String,
        help: Option<String>,
    ) -> Problem {
        let stage = stages_path().join(id);
        let (path, on_key) = path_of(id, self.0.get(id).unwrap_or(&stage), field);
        Problem { path, on_key, message, help }
    }
}
