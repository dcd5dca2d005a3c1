//! What `runtime run --resume` goes on with: the pipeline and the checkpoint of an earlier run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::output::Failure;
use super::run_arguments::{Arguments, needs_an_end};
use super::{App, pipeline};
use compute::adapter::forms::Forms;
use compute::adapter::several::Several;
use compute::settings::ComputeSettings;
use compute::towers::journal;
use config::node::Node;
use config::yaml::Document;
use flow::plan::Plan;
use flow::port::Port;
use flow::reports::Change;
use flow::stage::{Evaluation, Resume, RunSettings};
use record::checkpoint::{self, Stored, latest_good};
use record::metrics;
use record::recorder::{PROGRAM, Recorder, metrics_file};
use record::run_folder::{self, About, Ended, Resumed, RunFolder};

/// Settings that say nothing of what is learned. Adapter and precision say how exactly: the weights
/// that a checkpoint holds are good for all of them.
const FREE_SETTINGS: [&str; 11] = [
    "epochs",
    "steps",
    "adapter",
    "precision",
    "autotune",
    "allow",
    "checkpoints",
    "summaries",
    "name",
    "block_images",
    "channel_blocks",
];

fn usage(message: String, help: &str) -> Failure {
    Failure::Usage { message, help: Some(help.to_owned()) }
}

/// A run that goes on.
pub(super) struct Continuation {
    pub(super) plan: Plan,
    pub(super) recorder: Recorder,
    /// What there is to say of it beforehand.
    pub(super) lines: Vec<String>,
    /// The run's folder, and the checkpoints in it that are read.
    pub(super) run: PathBuf,
    pub(super) checkpoints: Vec<PathBuf>,
}

pub(super) fn prepare(app: &App, arguments: &Arguments) -> Result<Continuation, Failure> {
    let asked = arguments.resume.as_deref().filter(|asked| !asked.is_empty());
    let run = run_folder::find(&arguments.runs, asked)
        .map_err(|error| usage(error.to_string(), "start one: `runtime run pipeline.yaml`"))?;
    let folder = RunFolder::resume(run.clone()).map_err(Failure::Run)?;
    let mut about: About = run_folder::read_json(&run_folder::about(&run)).map_err(Failure::Run)?;
    check_about(&about, &run)?;
    let own = |set: &[(String, String)]| pipeline::Arguments {
        file: run_folder::pipeline(&run),
        set: set.to_vec(),
    };
    let (mut before, _) = own(&[]).check(app, &settings(arguments, &about))?;
    let earlier = before.meant_before(&about.data);
    if !earlier.is_empty() {
        (before, _) = own(&earlier).check(app, &settings(arguments, &about))?;
    }
    let start = start(&run, &about, &before)?;
    // What is said now counts more than what was said then.
    let began_with = about.adapters_asked.clone();
    let sets = |field: &[&str]| arguments.set.iter().any(|(path, _)| reaches(path, field));
    if arguments.adapter.is_some() || sets(&["adapter"]) {
        about.adapter_asked = arguments.adapter.clone();
    }
    let asked = arguments.adapters_asked();
    if asked.is_some() || sets(&["adapter"]) || sets(&of_trainer(&before, "adapters")) {
        about.adapters_asked = asked;
    }
    let base = settings(arguments, &about);
    let mut plan = match &arguments.file {
        None => own(&[&earlier[..], &arguments.set].concat()).load_with(app, &base)?,
        Some(file) => {
            let source = pipeline::Arguments { file: file.clone(), set: arguments.set.clone() };
            source.load_with(app, &RunSettings { folder: source.folder(), ..base })?
        }
    };
    needs_an_end(&plan, &run_folder::pipeline(&run).display().to_string())?;
    let changes = changes(&before, &plan)?;
    // What a file says counts as well.
    let of_file = |field: &[&str]| {
        let path = |change: &String| change.split_once(": ").map(|(path, _)| path.to_owned());
        let named = |change: &String| path(change).is_some_and(|path| reaches(&path, field));
        arguments.file.is_some() && changes.iter().any(named)
    };
    if of_file(&["adapter"]) || of_file(&of_trainer(&before, "adapters")) {
        about.adapters_asked = arguments.adapters_asked();
        plan.settings.compute.adapters.clone_from(&about.adapters_asked);
    }
    plan.settings.resume = start.as_ref().map(|start| start.resume(&before, &plan)).transpose()?;
    let steps = start.as_ref().map_or(0, |start| start.stored.progress.steps);
    let mut lines = vec![match &start {
        Some(_) => format!("going on with {} after step {steps}", run.display()),
        None => {
            format!("{} was stopped before its first checkpoint: it begins again", run.display())
        }
    }];
    if let Some(file) = &arguments.file {
        let file = file.display();
        lines.push(format!("limits, periods and the like are those of {file}, not the run's own"));
    }
    lines.extend(changes.iter().map(|change| format!("changed: {change}")));
    if let (Some(asked), None) = (&began_with, &about.adapters_asked) {
        lines.push(format!(
            "changed: adapters: the pipeline's, and no longer {asked}, which the command line named \
             when the run began"
        ));
    }
    if plan.settings.compute.precision != before.settings.compute.precision {
        lines.push("warning: in another precision bits differ from now on".to_owned());
    }
    lines.extend(start.iter().flat_map(Start::notes));
    about.resumed.push(Resumed {
        time: run_folder::now(),
        steps,
        program: PROGRAM.to_owned(),
        adapter: None,
        changes,
    });
    plan.settings.record.taps = plan.first_images();
    plan.settings.compute.forms = forms(&plan, start.as_ref());
    let original = fs::read_to_string(run.join("pipeline.original.yaml")).unwrap_or_default();
    let recorder =
        Recorder::resume(&plan, &original, folder, about, steps).map_err(Failure::Run)?;
    let checkpoints = start.as_ref().map(Start::checkpoints).unwrap_or_default();
    Ok(Continuation { plan, recorder, lines, run, checkpoints })
}

/// Where a run goes on.
struct Start {
    path: PathBuf,
    stored: Stored,
    evaluation: Evaluation,
    /// Earlier checkpoints of which no evaluation has been told.
    lost: Vec<Stored>,
    /// The shares of several adapters.
    shares: Vec<Change>,
    /// What is wrong with other checkpoints.
    damaged: Vec<String>,
}

impl Start {
    /// The same for the pipeline's model.
    fn resume(&self, before: &Plan, plan: &Plan) -> Result<Resume, Failure> {
        let fitting = |stored| weights(plan, stored, &self.path).map(Arc::new);
        Ok(Resume {
            weights: fitting(&self.stored)?,
            evaluation: self.evaluation,
            lost: self.lost.iter().map(fitting).collect::<Result<_, _>>()?,
            shares: self.shares.clone(),
            limit: before.settings.limit,
        })
    }

    /// The checkpoints that it takes.
    fn checkpoints(&self) -> Vec<PathBuf> {
        let lost = self.lost.iter().map(|stored| stored.progress.steps);
        let lost = lost.map(|steps| self.path.with_file_name(checkpoint::file_name(steps)));
        lost.chain([self.path.clone()]).collect()
    }

    /// What there is to say of it.
    fn notes(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.damaged.iter().map(|note| format!("warning: {note}")).collect();
        if !self.lost.is_empty() {
            let steps: Vec<String> =
                self.lost.iter().map(|stored| stored.progress.steps.to_string()).collect();
            lines.push(format!("evaluations that were lost come first: {}", steps.join(", ")));
        }
        let program = &self.stored.about.program;
        if program != PROGRAM {
            lines.push(format!(
                "warning: the run was at work with Gradflow {program}, and this is {PROGRAM}: bits \
                 may differ from now on"
            ));
        }
        lines
    }
}

/// The newest checkpoint that is good; `None` if the run was stopped before its first.
fn start(run: &Path, about: &About, plan: &Plan) -> Result<Option<Start>, Failure> {
    let folder = run_folder::checkpoints(run);
    let measured = metrics::read(&metrics_file(run)).map_err(Failure::Run)?;
    // Whatever ended in good order after a step had kept its weights: if there are none, somebody
    // has removed them, and hours of training are not done again without being asked for.
    let kept_some =
        about.ended.as_ref().is_some_and(Ended::is_in_order) && !measured.steps.is_empty();
    if !kept_some && checkpoint::is_empty(&folder).map_err(Failure::Run)? {
        return Ok(None);
    }
    let (path, stored, mut damaged) = latest_good(&folder).map_err(|error| {
        usage(
            format!("{error:#}"),
            "without a checkpoint there is nothing to go on from: start another run",
        )
    })?;
    let steps = stored.progress.steps;
    let told = plan.evaluators().map(|stage| measured.last_evaluation(stage)).min();
    let (lost, unread) = checkpoint::awaiting(&folder, told.unwrap_or(steps), steps);
    damaged.extend(unread);
    let is_told = |stage: &str| {
        measured.evaluations.iter().any(|report| report.stage == stage && report.step == steps)
    };
    let evaluation = match stored.about.awaits_evaluation {
        _ if plan.evaluators().all(is_told) => Evaluation::Told,
        true => Evaluation::Awaited,
        false => Evaluation::NotDue,
    };
    let balance = journal::file(run);
    let shares = match balance.exists() {
        true => journal::read(&balance).map_err(Failure::Run)?,
        false => Vec::new(),
    };
    Ok(Some(Start { path, stored, evaluation, lost, shares, damaged }))
}

/// How a run that goes on chooses among the forms of kernels: as it did before. Checkpoints that do
/// not say how are of a version that took the first.
fn forms(plan: &Plan, start: Option<&Start>) -> Forms {
    let Some(start) = start else { return record::recorder::forms(&plan.settings) };
    match start.stored.about.record() {
        Some(record) => record::recorder::forms(&plan.settings).recorded(record),
        None => Forms::default(),
    }
}

/// Refuses a `run.json` that no version has written.
fn check_about(about: &About, run: &Path) -> Result<(), Failure> {
    let mistakes = about.adapters_asked.as_ref().map(|asked| asked.mistakes("adapters_asked"));
    match mistakes.unwrap_or_default().first() {
        None => Ok(()),
        Some(wrong) => Err(usage(
            format!(
                "{} is damaged: `{}`: {}",
                run_folder::about(run).display(),
                wrong.field.join("."),
                wrong.message
            ),
            "set it to `null` to train on the pipeline's adapters",
        )),
    }
}

/// Whether a `--set` of this path gives the value at another one: itself, what holds it, or a part
/// of it.
fn reaches(path: &str, field: &[&str]) -> bool {
    !field.is_empty() && path.split('.').zip(field).all(|(set, asked)| set == *asked)
}

/// The path of a field of what trains.
fn of_trainer<'a>(plan: &'a Plan, field: &'a str) -> Vec<&'a str> {
    let trainer = plan.trainer().map(|at| &plan.stages[at]);
    trainer.map_or(Vec::new(), |stage| vec!["stages", &stage.id, stage.kind, field])
}

/// What is known of a run before its pipeline is read.
fn settings(arguments: &Arguments, about: &About) -> RunSettings {
    let adapters = arguments.adapters_asked().or_else(|| about.adapters_asked.clone());
    RunSettings {
        compute: ComputeSettings {
            adapter: about.adapter_asked.clone(),
            adapter_alone: adapters.is_some()
                && adapters == about.adapter_asked.as_deref().map(Several::alone),
            adapters,
            strict: arguments.strict,
            ..ComputeSettings::default()
        },
        folder: about.folder.clone(),
        ..flow::environment::settings(arguments.data.clone().or_else(|| about.data_path.clone()))
    }
}

/// The weights of a checkpoint, for the pipeline's model.
fn weights(plan: &Plan, stored: &Stored, path: &Path) -> Result<flow::item::Weights, Failure> {
    let graph = plan.trainer().and_then(|at| match &plan.stages[at].output {
        Some(Port::Weights(graph)) => Some(Arc::clone(graph)),
        _ => None,
    });
    let Some(graph) = graph else {
        return Err(usage("the pipeline trains nothing".to_owned(), "give it a reducer"));
    };
    stored.weights(&graph).map_err(|misfit| {
        usage(
            format!("{}: {misfit}", path.display()),
            "go on with the pipeline that the run was started with, or start another run",
        )
    })
}

/// What is different from before, a line each.
fn changes(before: &Plan, after: &Plan) -> Result<Vec<String>, Failure> {
    let (mut allowed, mut refused) = (Vec::new(), Vec::new());
    let mut differences = Vec::new();
    compare(&mut Vec::new(), Some(&before.resolved()), Some(&after.resolved()), &mut differences);
    for (path, from, to) in differences {
        let line = format!("{}: {from} -> {to}", path.join("."));
        let list = if is_free(&path, before, after) { &mut allowed } else { &mut refused };
        list.push(line);
    }
    if refused.is_empty() {
        return Ok(allowed);
    }
    Err(usage(
        format!("a run that goes on cannot change what it learns:\n  {}", refused.join("\n  ")),
        "limits, periods, adapters, workers and the learning rate may change; start another run \
         for anything else",
    ))
}

/// Whether a value may be another one when a run goes on.
fn is_free(path: &[String], before: &Plan, after: &Plan) -> bool {
    match path {
        [setting, ..] if FREE_SETTINGS.contains(&setting.as_str()) => true,
        [stages, id, ..] if stages == "stages" => {
            let place = |plan: &Plan| plan.stages.iter().position(|stage| stage.id == *id);
            let found = [after, before].into_iter().find_map(|plan| Some((plan, place(plan)?)));
            let Some((plan, at)) = found else { return false };
            let field = path.get(3).map(String::as_str);
            let adjustable = plan.stages[at].config.adjustable();
            !plan.trains(at) || field.is_some_and(|field| adjustable.contains(&field))
        }
        _ => false,
    }
}

type Difference = (Vec<String>, String, String);

fn compare(
    path: &mut Vec<String>,
    before: Option<&Node>,
    after: Option<&Node>,
    found: &mut Vec<Difference>,
) {
    if before == after {
        return;
    }
    if let (Some(Node::Map(old)), Some(Node::Map(new))) = (before, after) {
        let added = new.iter().filter(|(key, _)| old.iter().all(|(known, _)| known != key));
        for (key, _) in old.iter().chain(added) {
            path.push(key.clone());
            let value =
                |entries: &[(String, Node)]| entries.iter().position(|(known, _)| known == key);
            compare(path, value(old).map(|at| &old[at].1), value(new).map(|at| &new[at].1), found);
            path.pop();
        }
        return;
    }
    if let (Some(Node::List(old)), Some(Node::List(new))) = (before, after)
        && old.len() == new.len()
        && old.iter().chain(new).all(|item| matches!(item, Node::Map(_)))
    {
        for (at, (old, new)) in old.iter().zip(new).enumerate() {
            path.push(at.to_string());
            compare(path, Some(old), Some(new), found);
            path.pop();
        }
        return;
    }
    let text = |node: Option<&Node>| match node {
        None => "nothing".to_owned(),
        // On one line, which is YAML as well.
        Some(Node::Map(_) | Node::List(_)) => {
            node.map(serde_json::to_string).and_then(Result::ok).unwrap_or_default()
        }
        Some(node) => {
            Document::write(node).map_or_else(|_| node.describe(), |text| text.trim().to_owned())
        }
    };
    found.push((path.clone(), text(before), text(after)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_reaches_what_it_names_holds_or_is_a_part_of() {
        let field = ["stages", "train", "reducer", "adapters"];
        for path in [
            "stages.train.reducer.adapters",
            "stages.train.reducer.adapters.0.replicas",
            "stages.train.reducer",
            "stages",
        ] {
            assert!(reaches(path, &field), "{path}");
        }
        for path in ["stages.train.reducer.batch", "stages.other.reducer.adapters", "adapter"] {
            assert!(!reaches(path, &field), "{path}");
        }
        assert!(!reaches("steps", &[]));
    }

    #[test]
    fn differences_are_found_with_their_paths() {
        let node = |text: &str| Document::parse(text).expect("YAML").node().clone();
        let (old, new) =
            (node("{ a: 1, b: { c: 2, d: [1] } }"), node("{ a: 1, b: { d: [2] }, e: x }"));
        let mut found = Vec::new();
        compare(&mut Vec::new(), Some(&old), Some(&new), &mut found);
        let lines: Vec<String> = found
            .iter()
            .map(|(path, from, to)| format!("{}: {from} > {to}", path.join(".")))
            .collect();
        assert_eq!(lines, ["b.c: 2 > nothing", "b.d: [1] > [2]", "e: nothing > x"]);
        let (old, new) =
            (node("[{ a: 1 }, { b: { c: 2 } }]"), node("[{ a: 1 }, { b: { c: 3 }, d: x }]"));
        let mut found = Vec::new();
        compare(&mut Vec::new(), Some(&old), Some(&new), &mut found);
        let paths: Vec<String> = found.iter().map(|(path, ..)| path.join(".")).collect();
        assert_eq!(paths, ["1.b.c", "1.d"]);
    }
}
