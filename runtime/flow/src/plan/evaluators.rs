//! Which of several stages that evaluate says which checkpoint is the best.

use super::Plan;
use super::finding::STAGES;
use config::decode::{Problem, Problems};
use config::node::{Path, short};
use config::suggest;

fn best_by() -> Path {
    Path::default().join("checkpoints").join("best_by")
}

/// Refuses a name that is none of theirs.
pub(super) fn check(plan: &Plan, problems: &mut Problems) {
    let Some(named) = &plan.settings.record.checkpoints.best_by else { return };
    let evaluators: Vec<&str> = plan.evaluators().collect();
    if evaluators.contains(&named.as_str()) {
        return;
    }
    let name = short(named);
    let message = match plan.stages.iter().any(|stage| stage.id == *named) {
        true => format!("`{name}` does not evaluate"),
        false => format!("there is no stage named `{name}` that evaluates"),
    };
    let of_these = || {
        let names: Vec<String> = evaluators.iter().map(|id| format!("`{id}`")).collect();
        match names.as_slice() {
            [] => "no stage evaluates: take `best_by` out".to_owned(),
            names => format!("expected one of {}", names.join(", ")),
        }
    };
    let help = suggest::help(named, &evaluators).unwrap_or_else(of_these);
    problems.push(Problem { path: best_by(), on_key: false, message, help: Some(help) });
}

/// Where several stages evaluate and none is named: that the first one decides.
pub(super) fn unsaid(plan: &Plan) -> Option<Problem> {
    let evaluators: Vec<&str> = plan.evaluators().collect();
    let [first, others @ ..] = evaluators.as_slice() else { return None };
    // Without a stage that trains, nothing is kept.
    let silent = plan.settings.record.checkpoints.best_by.is_some() || plan.trainer().is_none();
    if others.is_empty() || silent {
        return None;
    }
    Some(Problem {
        path: Path::default().join(STAGES).join(first),
        on_key: true,
        message: format!(
            "{} stages evaluate, and `{first}`, the first of them, says which checkpoint is the best",
            evaluators.len()
        ),
        help: Some(format!(
            "`checkpoints: {{ best_by: {} }}` names another, or this one",
            others[0]
        )),
    })
}
