//! Checks a pipeline that is YAML: its settings, its stages, and what flows between them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::finding::{Checked, FROM, Finding, Places, STAGES, path_of, stages_path, taken};
use super::flows;
use super::top::Top;
use super::{Plan, PlannedStage, evaluators, links, notes, trials};
use crate::port::Port;
use crate::stage::{Config, Kind, Mismatch, Parsed, RunSettings};
use config::decode::{Problem, Problems};
use config::entry::entry;
use config::node::{Node, Path, short};
use config::suggest;

/// A stage as read, before its types are known.
struct Read {
    id: String,
    /// Where the kind's fields are.
    body: Path,
    parsed: Option<(&'static str, Parsed<Box<dyn Config>>)>,
    /// Names of the stages it reads from, and where each is written.
    sources: Vec<(String, Path)>,
}

/// Checks everything that can be checked without opening anything.
pub(super) fn check(kinds: &[Kind], node: &Node, base: &RunSettings) -> Checked {
    let mut problems = Problems::new();
    let Some(entries) = node.entries() else {
        problems.push(Problem {
            path: Path::default(),
            on_key: false,
            message: format!("expected a map of settings and stages, found {}", node.describe()),
            help: None,
        });
        return Checked { errors: into_findings(problems), ..Checked::default() };
    };
    let settings =
        entries.iter().filter(|(key, _)| key != STAGES && key != trials::TESTS).cloned().collect();
    let top = Parsed::<Top>::read(&Node::Map(settings), &Path::default(), &mut problems);
    if let Some(top) = &top {
        tell_unknown(&top.value.allow, kinds, &mut problems);
    }
    let stages = read_stages(kinds, node.get(STAGES), &mut problems);
    let tests = trials::read(node.get(trials::TESTS), &mut problems);
    let (from, links_known) = resolve(&stages, &mut problems);
    let (order, circles) = links::sort(&from);
    for circle in &circles {
        problems.push(circular(&stages, circle));
    }
    if circles.is_empty() {
        tell_shared(&stages, &from, &mut problems);
    }
    // Who reads what is known for sure only if every entry and every link could be read.
    let links_known = links_known && circles.is_empty();

    let mut checked = Checked { errors: into_findings(problems), ..Checked::default() };
    let outputs = infer(&stages, &from, &order, &mut checked);
    tell_beside(&stages, base, &mut checked.errors);
    tell_trainers(&stages, &outputs, &mut checked.errors);
    if links_known {
        tell_unread(&stages, &from, &outputs, &mut checked.errors);
    }
    if let (Some(top), true) = (top, checked.errors.is_empty()) {
        let Parsed { value: top, fields } = top;
        let settings = top.settings(base);
        let places = Places::of(stages.iter().map(|stage| (&*stage.id, &stage.body)));
        let stages = assemble(stages, &from, &order, &outputs);
        let mut plan =
            Plan { settings, stages, trials: tests, top: fields, document: node.clone() };
        plan.settings.training = Some(Arc::new(flows::Planned::of(&plan, kinds)));
        let mut problems = Problems::new();
        trials::check(&plan, &mut problems);
        evaluators::check(&plan, &mut problems);
        checked.warnings.extend(evaluators::unsaid(&plan).map(Finding::from));
        checked.errors = into_findings(problems);
        notes::tell(&plan, &places, &mut checked);
        checked.plan = checked.errors.is_empty().then_some(plan);
    }
    checked
}

fn into_findings(problems: Problems) -> Vec<Finding> {
    problems.into_iter().map(Finding::from).collect()
}

fn read_stages(kinds: &[Kind], node: Option<&Node>, problems: &mut Problems) -> Vec<Read> {
    let path = stages_path();
    let entries = match node {
        Some(Node::Map(entries)) => entries.as_slice(),
        Some(Node::Null) | None => &[],
        Some(other) => {
            problems.push(Problem {
                path,
                on_key: false,
                message: format!("expected a map of stages, found {}", other.describe()),
                help: Some("write `NAME: { from: OTHER, KIND: { .. } }`".to_owned()),
            });
            return Vec::new();
        }
    };
    if entries.is_empty() {
        problems.push(Problem {
            path: path.clone(),
            on_key: true,
            message: "the pipeline has no stages".to_owned(),
            help: Some("`runtime list` shows the kinds of stages".to_owned()),
        });
    }
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    entries
        .iter()
        .map(|(id, node)| {
            let path = path.join(id);
            check_id(id, &path, problems);
            let sources = node.get(FROM).map(|from| read_from(from, &path, problems));
            let found = entry(node, &path, &[FROM], &names, "stage", problems);
            let body = found.as_ref().map_or_else(|| path.clone(), |entry| entry.body_path.clone());
            let parsed = found.and_then(|entry| {
                let kind = &kinds[entry.kind];
                let before = problems.len();
                let config = (kind.parse)(entry.body, &entry.body_path, problems);
                for problem in &mut problems[before..] {
                    problem.message = format!("{id}: {}", problem.message);
                }
                config.map(|config| (kind.name, config))
            });
            Read { id: id.clone(), body, parsed, sources: sources.unwrap_or_default() }
        })
        .collect()
}

/// Names end up in paths with dots, in logs and in drawings of the graph.
fn check_id(id: &str, path: &Path, problems: &mut Problems) {
    let is_plain = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    if id.is_empty() || !id.chars().all(is_plain) {
        problems.push(Problem {
            path: path.clone(),
            on_key: true,
            message: format!("`{}` cannot name a stage", short(id)),
            help: Some("use letters, digits, `_` and `-`".to_owned()),
        });
    }
}

fn read_from(node: &Node, stage: &Path, problems: &mut Problems) -> Vec<(String, Path)> {
    let path = stage.join(FROM);
    let mut wrong = |node: &Node, path: Path| {
        problems.push(Problem {
            path,
            on_key: false,
            message: format!("expected the name of a stage, found {}", node.describe()),
            help: None,
        });
    };
    match node {
        Node::Null => Vec::new(),
        Node::List(items) => {
            let mut sources = Vec::new();
            for (position, item) in items.iter().enumerate() {
                let path = path.join(position);
                match item.scalar() {
                    Some(name) => sources.push((name.into_owned(), path)),
                    None => wrong(item, path),
                }
            }
            sources
        }
        other => match other.scalar() {
            Some(name) => vec![(name.into_owned(), path)],
            None => {
                wrong(other, path);
                Vec::new()
            }
        },
    }
}

/// The stages that each stage reads from, and whether all of them are known.
fn resolve(stages: &[Read], problems: &mut Problems) -> (Vec<Vec<usize>>, bool) {
    let before = problems.len();
    let ids: Vec<&str> = stages.iter().map(|stage| &*stage.id).collect();
    let positions: HashMap<&str, usize> =
        ids.iter().enumerate().map(|(position, id)| (*id, position)).collect();
    let mut from = Vec::with_capacity(stages.len());
    for (stage, read) in stages.iter().enumerate() {
        let mut sources = Vec::new();
        for (name, path) in &read.sources {
            let mut tell = |message: String, help: Option<String>| {
                problems.push(Problem { path: path.clone(), on_key: false, message, help });
            };
            match positions.get(&**name) {
                None => tell(
                    format!("there is no stage named `{}`", short(name)),
                    suggest::help(name, &ids),
                ),
                Some(source) if *source == stage => {
                    tell(format!("`{name}` reads from itself"), None);
                }
                Some(source) if sources.contains(source) => {
                    tell(format!("`{}` reads from `{name}` twice", read.id), None);
                }
                Some(source) => sources.push(*source),
            }
        }
        from.push(sources);
    }
    let read_well = stages.iter().all(|stage| stage.parsed.is_some());
    (from, read_well && problems.len() == before)
}

fn circular(stages: &[Read], circle: &[usize]) -> Problem {
    let ids = circle.iter().chain(&circle[..1]).map(|stage| format!("`{}`", stages[*stage].id));
    Problem {
        path: stages_path().join(&stages[circle[0]].id).join(FROM),
        on_key: false,
        message: format!("the flow goes in a circle: {}", ids.collect::<Vec<_>>().join(" to ")),
        help: Some("data flows one way".to_owned()),
    }
}

/// Refuses stages of which two inputs come from one stage. Channels are bounded, and a stage sends
/// each item to all its readers: when one input waits for more of the shared flow while the other
/// is full, nothing moves any more.
fn tell_shared(stages: &[Read], from: &[Vec<usize>], problems: &mut Problems) {
    for (stage, sources) in from.iter().enumerate().filter(|(_, sources)| sources.len() > 1) {
        let Some(shared) = shared(from, sources) else { continue };
        let id = |stage: usize| &stages[stage].id;
        let [ancestor, one, other] = [shared.ancestor, shared.one, shared.other].map(id);
        let ways = if shared.ancestor == shared.one {
            format!("directly and through `{other}`")
        } else if shared.ancestor == shared.other {
            format!("directly and through `{one}`")
        } else {
            format!("through `{one}` and through `{other}`")
        };
        let reader = id(stage);
        problems.push(Problem {
            path: stages_path().join(reader).join(FROM),
            on_key: false,
            message: format!("`{reader}` reads `{ancestor}` both {ways}"),
            help: Some(
                "one way would wait for the other without end; give one of them stages of its \
                 own, from the beginning of the flow on"
                    .to_owned(),
            ),
        });
    }
}

/// A stage that two inputs of another come from.
struct Shared {
    ancestor: usize,
    one: usize,
    other: usize,
}

/// The first stage found, going against the flow, that two of these inputs come from.
fn shared(from: &[Vec<usize>], sources: &[usize]) -> Option<Shared> {
    let mut reached_by: HashMap<usize, usize> = HashMap::new();
    for other in sources {
        let mut waiting = VecDeque::from([*other]);
        while let Some(ancestor) = waiting.pop_front() {
            match reached_by.insert(ancestor, *other) {
                Some(one) if one != *other => {
                    return Some(Shared { ancestor, one, other: *other });
                }
                Some(_) => {}
                None => waiting.extend(&from[ancestor]),
            }
        }
    }
    None
}

/// What is known of a stage's output.
#[derive(Clone, Debug)]
enum Output {
    /// The stage, or one before it, is wrong.
    Unknown,
    /// As checked.
    Known { inputs: Vec<Port>, output: Option<Port> },
}

/// Checks every stage whose inputs are known. Stages behind one that is wrong are left alone:
/// what would be told about them follows from what is told already.
fn infer(
    stages: &[Read],
    from: &[Vec<usize>],
    order: &[usize],
    checked: &mut Checked,
) -> Vec<Output> {
    let mut outputs = vec![Output::Unknown; stages.len()];
    for stage in order {
        let read = &stages[*stage];
        let Some((_, Parsed { value: config, .. })) = &read.parsed else { continue };
        if from[*stage].len() != read.sources.len() {
            continue;
        }
        let mut inputs = Vec::new();
        for (source, (name, path)) in from[*stage].iter().zip(&read.sources) {
            match &outputs[*source] {
                Output::Known { output: Some(port), .. } => inputs.push(port.clone()),
                Output::Known { output: None, .. } => checked.errors.push(Finding::from(Problem {
                    path: path.clone(),
                    on_key: false,
                    message: format!("`{name}` puts out nothing that `{}` could read", read.id),
                    help: None,
                })),
                Output::Unknown => {}
            }
        }
        if inputs.len() != read.sources.len() {
            continue;
        }
        match config.check(&inputs) {
            Ok(output) => {
                outputs[*stage] = Output::Known { inputs, output };
            }
            Err(mut mismatch) => {
                let others = std::mem::take(&mut mismatch.also);
                let all = std::iter::once(mismatch).chain(others);
                checked.errors.extend(all.map(|one| finding(read, &inputs, one)));
            }
        }
    }
    outputs
}

/// Asks each stage that reads about each other that can be read.
fn tell_beside(stages: &[Read], run: &RunSettings, errors: &mut Vec<Finding>) {
    for stage in stages {
        for other in stages.iter().filter(|other| other.id != stage.id) {
            let (Some((_, own)), Some((_, beside))) = (&stage.parsed, &other.parsed) else {
                continue;
            };
            let Some(reads) = own.value.as_reads() else { continue };
            if let Err(mismatch) = reads.check_beside(&*beside.value, run) {
                let mut finding = finding(stage, &[], mismatch);
                finding.notes.push(format!("the other stage is {}", other.id));
                errors.push(finding);
            }
        }
    }
}

/// Refuses a second stage that trains: a run has the weights of one.
fn tell_trainers(stages: &[Read], outputs: &[Output], errors: &mut Vec<Finding>) {
    let trains =
        |output: &Output| matches!(output, Output::Known { output: Some(Port::Weights(_)), .. });
    let ids: Vec<&str> =
        stages.iter().zip(outputs).filter(|(_, o)| trains(o)).map(|(read, _)| &*read.id).collect();
    if ids.len() < 2 {
        return;
    }
    for id in &ids {
        let others: Vec<String> =
            ids.iter().filter(|other| *other != id).map(|other| format!("`{other}`")).collect();
        errors.push(Finding::from(Problem {
            path: stages_path().join(id),
            on_key: true,
            message: format!("`{id}` trains, and so does {}", others.join(", ")),
            help: Some(
                "a pipeline trains one model; give the other a pipeline of its own".to_owned(),
            ),
        }));
    }
}

/// Places what a stage says about itself.
fn finding(stage: &Read, inputs: &[Port], mismatch: Mismatch) -> Finding {
    let (path, on_key) = path_of(&stage.id, &stage.body, mismatch.field);
    let sources = stage.sources.iter().map(|(name, _)| &**name);
    let message = format!("{}: {}", stage.id, mismatch.message);
    let problem = Problem { path, on_key, message, help: mismatch.help };
    Finding { notes: taken(&stage.id, inputs, sources), ..Finding::from(problem) }
}

/// Tells what is to be switched off and is nothing that could be told.
fn tell_unknown(allow: &[String], kinds: &[Kind], problems: &mut Problems) {
    let known: Vec<&str> = crate::stage::lints(kinds).iter().map(|lint| lint.name).collect();
    for (at, name) in allow.iter().enumerate().filter(|(_, name)| !known.contains(&&***name)) {
        problems.push(Problem {
            path: Path::default().join("allow").join(at),
            on_key: false,
            message: format!("there is no warning and no note named `{}`", short(name)),
            help: suggest::help(name, &known),
        });
    }
}

/// A flow that ends nowhere is a stage forgotten. Weights are different: they stay where they are
/// trained.
fn tell_unread(
    stages: &[Read],
    from: &[Vec<usize>],
    outputs: &[Output],
    errors: &mut Vec<Finding>,
) {
    let mut is_read = vec![false; stages.len()];
    for source in from.iter().flatten() {
        is_read[*source] = true;
    }
    for ((stage, output), is_read) in stages.iter().zip(outputs).zip(is_read) {
        let Output::Known { output: Some(port), .. } = output else { continue };
        let id = &stage.id;
        let message = match port {
            _ if is_read => continue,
            Port::Weights(_) => continue,
            Port::Gradients(..) => format!("nothing applies the gradients of `{id}`"),
            Port::Samples(_) | Port::Batches(..) | Port::Scores(_) => {
                format!("nobody reads what `{id}` puts out")
            }
        };
        let help = match port {
            Port::Gradients(..) => format!("add a stage that applies them, with `from: {id}`"),
            _ => format!("add `from: {id}` to the stage that should read it, or remove `{id}`"),
        };
        let path = stages_path().join(id);
        let problem = Problem { path, on_key: true, message, help: Some(help) };
        let notes = vec![format!("{id} puts out {port}")];
        errors.push(Finding { notes, ..Finding::from(problem) });
    }
}

/// Puts the stages in order. All of them are known to be right.
fn assemble(
    stages: Vec<Read>,
    from: &[Vec<usize>],
    order: &[usize],
    outputs: &[Output],
) -> Vec<PlannedStage> {
    let mut position = vec![0; stages.len()];
    for (place, stage) in order.iter().enumerate() {
        position[*stage] = place;
    }
    let mut planned: Vec<(usize, PlannedStage)> = stages
        .into_iter()
        .zip(outputs)
        .enumerate()
        .filter_map(|(stage, (read, output))| {
            let (kind, config) = read.parsed?;
            let Output::Known { inputs, output } = output.clone() else { return None };
            let from = from[stage].iter().map(|source| position[*source]).collect();
            let Parsed { value: config, fields } = config;
            let planned = PlannedStage { id: read.id, kind, config, fields, from, inputs, output };
            Some((position[stage], planned))
        })
        .collect();
    planned.sort_by_key(|(place, _)| *place);
    planned.into_iter().map(|(_, stage)| stage).collect()
}
