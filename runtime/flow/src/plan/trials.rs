//! The tests in a pipeline's YAML, checked against its stages.

use anyhow::{Result, bail};

use super::Plan;
use crate::port::Port;
use crate::trial::{Input, Trial};
use config::decode::{Problem, Problems, decode};
use config::node::{Node, Path};
use config::suggest;

pub(super) const TESTS: &str = "tests";

fn place(test: &str) -> Path {
    Path::default().join(TESTS).join(test)
}

/// Reads the tests by themselves, or adds everything that is wrong with them to `problems`.
pub(super) fn read(node: Option<&Node>, problems: &mut Problems) -> Vec<(String, Trial)> {
    let entries = match node {
        Some(Node::Map(entries)) => entries.as_slice(),
        Some(Node::Null) | None => &[],
        Some(other) => {
            problems.push(Problem {
                path: Path::default().join(TESTS),
                on_key: false,
                message: format!("expected a map of tests, found {}", other.describe()),
                help: Some(
                    "write `NAME: { image: 0, stage: STAGE, shape: [24, 24, 3] }`".to_owned(),
                ),
            });
            return Vec::new();
        }
    };
    let mut trials = Vec::new();
    for (name, node) in entries {
        let Some(trial) = decode::<Trial>(node, &place(name), problems) else { continue };
        if !trial.expects() {
            problems.push(Problem {
                path: place(name),
                on_key: true,
                message: format!("the test `{name}` expects nothing"),
                help: Some("add `shape`, `range`, `mean`, `deviation` or `crc32c`".to_owned()),
            });
        }
        let mut impossible = |field: &str, message: String| {
            let path = place(name).join(field);
            problems.push(Problem { path, on_key: false, message, help: None });
        };
        // What is no number is in no order.
        let out_of_order = |[low, high]: &[f64; 2]| low.is_nan() || high.is_nan() || low > high;
        if let Some([low, high]) = trial.range.filter(out_of_order) {
            impossible("range", format!("expected the least and the largest, found {low}, {high}"));
        }
        if !(trial.tolerance.is_finite() && trial.tolerance >= 0.0) {
            let found = trial.tolerance;
            impossible("tolerance", format!("expected a number from 0 upwards, found {found}"));
        }
        let is_hex = |crc: &String| crc.len() == 8 && crc.chars().all(|c| c.is_ascii_hexdigit());
        if let Some(crc) = trial.crc32c.as_ref().filter(|crc| !is_hex(crc)) {
            problems.push(Problem {
                path: place(name).join("crc32c"),
                on_key: false,
                message: format!("expected 8 hexadecimal digits, found {} characters", crc.len()),
                help: Some("`runtime test` tells the right one".to_owned()),
            });
        }
        trials.push((name.clone(), trial));
    }
    trials
}

/// Adds what does not fit the stages to `problems`.
pub(super) fn check(plan: &Plan, problems: &mut Problems) {
    for (name, trial) in &plan.trials {
        let mut tell = |field: &str, message: String, help: Option<String>| {
            problems.push(Problem { path: place(name).join(field), on_key: false, message, help });
        };
        let known: Vec<&str> = plan.stages.iter().map(|stage| &*stage.id).collect();
        if !known.contains(&&*trial.stage) {
            let message = format!("there is no stage named `{}`", trial.stage);
            tell("stage", message, suggest::help(&trial.stage, &known));
            continue;
        }
        match plan.image_source(&trial.stage) {
            Err(error) => tell("stage", error.to_string(), None),
            Ok(source) => {
                let source = &plan.stages[source];
                if let Input::Drawing(number) = trial.image
                    && source.config.as_reads().and_then(|reads| reads.made_up(number)).is_none()
                {
                    let message = format!("there are no drawings of what `{}` reads", source.id);
                    tell("image", message, Some("name a file".to_owned()));
                }
            }
        }
    }
}

impl Plan {
    /// Where the images come from that a stage puts out.
    ///
    /// # Errors
    /// If it puts out anything else, or they come from several stages.
    pub fn image_source(&self, stage: &str) -> Result<usize> {
        let at = self.find(stage)?;
        if !matches!(self.stages[at].output, Some(Port::Samples(_))) {
            bail!("`{stage}` puts out no single images");
        }
        let (mut waiting, mut sources) = (vec![at], Vec::new());
        while let Some(at) = waiting.pop() {
            let stage = &self.stages[at];
            if stage.from.is_empty() {
                sources.push(at);
            }
            waiting.extend(&stage.from);
        }
        match sources[..] {
            [source] if matches!(self.stages[source].output, Some(Port::Samples(_))) => Ok(source),
            _ => bail!("what `{stage}` puts out does not come from one stage of images"),
        }
    }
}
