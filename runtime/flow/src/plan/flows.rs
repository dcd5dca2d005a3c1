//! What becomes of images on their way to a model, in the flow that trains it and in those that
//! evaluate it, and where two flows differ.

use std::fmt;
use std::sync::Arc;

use super::Plan;
use super::alignment::{Pair, align};
use crate::port::Port;
use crate::preprocessing::{Chance, Operation, Preprocessing, TrainingFlow};
use crate::stage::{Kind, RunSettings};
use config::diagnostic::Diagnostic;
use config::node::Node;

/// One stage's part in what becomes of images.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) stage: String,
    pub(super) kind: &'static str,
    operation: Operation,
    /// The height and the width of the images that it gets.
    size: [usize; 2],
    /// Whether nothing is known of the stage but its fields.
    unknown: bool,
}

/// What becomes of images from where they are read to a model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flow {
    /// The last stage.
    pub(super) end: String,
    /// What the stage that reads does, if it says so.
    read: Option<Step>,
    steps: Vec<Step>,
    /// What a whole image measures after all scaling, in pixels: the least and the largest height,
    /// then width.
    scaled: [[f64; 2]; 2],
    /// The stage that has it from that.
    scaled_by: (String, &'static str),
    /// The stages where chance decides.
    pub(super) chances: Vec<(String, Chance)>,
}

/// A stage, and the field in question, if it is about one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spot {
    pub(super) stage: String,
    pub(super) field: Vec<String>,
}

/// Something that is done otherwise in one flow than in the other.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// Where in the flow that trains; `None` if nothing is there.
    pub(super) trained: Option<Spot>,
    /// Where in the other one.
    pub(super) other: Option<Spot>,
}

/// How the images of both flows are called.
pub(super) struct Called {
    /// Such as `that train trains on`.
    pub(super) trained: String,
    pub(super) other: String,
}

impl Plan {
    /// What becomes of the images that a stage gets directly or as what was made of them, if they
    /// come one way.
    pub(super) fn flow_of(&self, stage: usize) -> Option<Flow> {
        let mut at = stage;
        let mut way = Vec::new();
        loop {
            let images = self.inputs_of(at, |port| {
                matches!(port, Port::Samples(_) | Port::Batches(..) | Port::Gradients(..))
            });
            match images[..] {
                [from] => at = from,
                [] if self.stages[at].from.is_empty() && !way.is_empty() => break,
                _ => return None,
            }
            if !matches!(self.stages[at].output, Some(Port::Gradients(..))) {
                way.push(at);
            }
        }
        way.reverse();
        let (source, last) = (*way.first()?, *way.last()?);
        let [height, width, _] = shape(self.stages[source].output.as_ref()?)?;
        let by = (self.stages[source].id.clone(), self.stages[source].kind);
        let mut flow = Flow {
            end: self.stages[last].id.clone(),
            read: None,
            steps: Vec::new(),
            scaled: [[height as f64; 2], [width as f64; 2]],
            scaled_by: by,
            chances: Vec::new(),
        };
        way.into_iter().for_each(|at| self.follow(at, &mut flow));
        Some(flow)
    }

    /// Adds what one stage does.
    fn follow(&self, at: usize, flow: &mut Flow) {
        let stage = &self.stages[at];
        let [height, width, _] = stage.inputs.first().and_then(shape).unwrap_or_default();
        let done = stage.config.as_prepares().and_then(|it| it.preprocessing(&stage.inputs));
        let unknown = done.is_none();
        let Preprocessing { scale, operations, chance } =
            done.unwrap_or_else(|| Preprocessing::always(self.fields_of(at)));
        let mut steps = operations.into_iter().map(|operation| Step {
            stage: stage.id.clone(),
            kind: stage.kind,
            operation,
            size: [height, width],
            unknown,
        });
        if stage.from.is_empty() {
            flow.read = steps.next_back();
        } else {
            flow.steps.extend(steps);
        }
        if scale != Preprocessing::default().scale {
            for (scaled, factor) in flow.scaled.iter_mut().zip(scale) {
                *scaled = [scaled[0] * factor[0], scaled[1] * factor[1]];
            }
            flow.scaled_by = (stage.id.clone(), stage.kind);
        }
        flow.chances.extend(chance.map(|chance| (stage.id.clone(), chance)));
    }

    /// The fields of a stage that says nothing of what it does.
    fn fields_of(&self, at: usize) -> Operation {
        let stage = &self.stages[at];
        let adjustable = stage.config.adjustable();
        let fields = stage.fields.entries().unwrap_or_default().iter();
        let fields = fields.filter(|(name, _)| !adjustable.contains(&&**name)).cloned().collect();
        Operation { fields, ..Operation::default() }.rescaling()
    }

    /// The stages from which one has its inputs of some types.
    pub(super) fn inputs_of(&self, stage: usize, is_meant: impl Fn(&Port) -> bool) -> Vec<usize> {
        let stage = &self.stages[stage];
        let inputs = stage.from.iter().zip(&stage.inputs);
        inputs.filter(|(_, port)| is_meant(port)).map(|(from, _)| *from).collect()
    }
}

fn shape(port: &Port) -> Option<[usize; 3]> {
    match port {
        Port::Samples(image) | Port::Batches(image, _) => Some(image.shape),
        Port::Gradients(..) | Port::Weights(_) | Port::Scores(_) => None,
    }
}

impl Step {
    /// The stage and its kind, for people.
    fn told(&self) -> String {
        format!("`{}` ({})", self.stage, self.kind)
    }

    fn spot(&self, field: Option<&str>) -> Spot {
        let part = Some(self.operation.part).filter(|part| !part.is_empty());
        let field = field.or(part).map(|field| field.split('.').map(str::to_owned).collect());
        Spot { stage: self.stage.clone(), field: field.unwrap_or_default() }
    }

    /// Whether both do the same thing, perhaps with other numbers.
    fn is_alike(&self, other: &Self) -> bool {
        (self.kind, self.operation.part) == (other.kind, other.operation.part)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.is_alike(other)
            && self.operation.fields == other.operation.fields
            && (!self.operation.of_whole_image || self.size == other.size)
    }
}

impl Flow {
    /// Everything that is not done in the same way in `other`, a flow into the same model.
    pub(super) fn differences(&self, other: &Self, called: &Called) -> Vec<Difference> {
        let mut found = Vec::new();
        // Where the data are kept in other forms, their rules cannot be held against each other.
        if let (Some(trained), Some(other)) = (&self.read, &other.read)
            && trained.is_alike(other)
        {
            found.extend(called.fields(trained, other));
        }
        found.extend(self.scaling(other, called));
        for pair in align(&self.steps, &other.steps, Step::is_same, Step::is_alike) {
            match pair {
                Pair::Changed(trained, other) if trained.is_alike(other) => {
                    found.extend(called.fields(trained, other));
                }
                Pair::Changed(trained, other) => found.push(called.instead(trained, other)),
                Pair::Missing(trained) => found.push(called.missing(trained)),
                Pair::Added(other) => found.push(called.added(other)),
                Pair::Moved(trained, other) => found.push(called.moved(trained, other)),
            }
        }
        found
    }

    fn scaling(&self, other: &Self, called: &Called) -> Option<Difference> {
        // What rounding to whole pixels makes of the same share of an image.
        const ROUNDING: f64 = 1.015;
        let apart = |[a, b]: [[f64; 2]; 2]| a[1] * ROUNDING < b[0] || b[1] * ROUNDING < a[0];
        let differs = (0..2).any(|side| apart([self.scaled[side], other.scaled[side]]));
        let spot = |flow: &Self| {
            let (stage, kind) = &flow.scaled_by;
            let told = format!("{} (`{stage}`, {kind})", Scaled(flow.scaled));
            (told, Some(Spot { stage: stage.clone(), field: Vec::new() }))
        };
        let ((trained, trained_spot), (others, other_spot)) = (spot(self), spot(other));
        differs.then(|| Difference {
            message: format!(
                "a whole image has {trained} where it is one {}, and {others} where it is one {}: \
                 what is seen has another size",
                called.trained, called.other
            ),
            help: None,
            trained: trained_spot,
            other: other_spot,
        })
    }
}

impl Called {
    /// The fields in which two steps that do the same thing differ.
    fn fields(&self, trained: &Step, other: &Step) -> Option<Difference> {
        let value = |step: &Step, name: &str| {
            let fields = &step.operation.fields;
            fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone())
        };
        let fields = [trained, other].map(|step| step.operation.fields.iter());
        let [of_trained, of_other] = fields;
        let mut names: Vec<&str> = of_trained.chain(of_other).map(|(name, _)| &**name).collect();
        names.retain(|name| value(trained, name) != value(other, name));
        names.sort_unstable();
        names.dedup();
        let told = |step: &Step| {
            let one = |name: &&str| {
                let value = value(step, name).map_or_else(|| "nothing".to_owned(), |v| shown(&v));
                format!("`{}` {value}", name.rsplit('.').next().unwrap_or(name))
            };
            names.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        if let Some(first) = names.first().copied() {
            let (there, here) = (told(trained), told(other));
            return Some(Difference {
                message: format!(
                    "{} has {there} for the images {}, and {} has {here} for those {}",
                    trained.told(),
                    self.trained,
                    other.told(),
                    self.other
                ),
                help: None,
                trained: Some(trained.spot(Some(first))),
                other: Some(other.spot(Some(first))),
            });
        }
        let sizes = [trained, other].map(|step| format!("{}x{}", step.size[0], step.size[1]));
        (trained.operation.of_whole_image && trained.size != other.size).then(|| Difference {
            message: format!(
                "{} sees {} pixels of the images {}, and {} sees {} of those {}: its statistics \
                 are of other parts",
                trained.told(),
                sizes[0],
                self.trained,
                other.told(),
                sizes[1],
                self.other
            ),
            help: Some("cut images to the same size before it".to_owned()),
            trained: Some(trained.spot(None)),
            other: Some(other.spot(None)),
        })
    }

    fn instead(&self, trained: &Step, other: &Step) -> Difference {
        Difference {
            message: format!(
                "{} changes the images {}, and {} those {}",
                trained.told(),
                self.trained,
                other.told(),
                self.other
            ),
            help: None,
            trained: Some(trained.spot(None)),
            other: Some(other.spot(None)),
        }
    }

    fn missing(&self, trained: &Step) -> Difference {
        Difference {
            message: format!(
                "{} changes the images {}, and nothing does so to those {}",
                trained.told(),
                self.trained,
                self.other
            ),
            help: Some(trained.unknown_help().unwrap_or_else(|| {
                format!("add the same {} there, at the same place", trained.kind)
            })),
            trained: Some(trained.spot(None)),
            other: None,
        }
    }

    fn added(&self, other: &Step) -> Difference {
        Difference {
            message: format!(
                "{} changes the images {}, and nothing does so to those {}",
                other.told(),
                self.other,
                self.trained
            ),
            help: other.unknown_help(),
            trained: None,
            other: Some(other.spot(None)),
        }
    }

    fn moved(&self, trained: &Step, other: &Step) -> Difference {
        Difference {
            message: format!(
                "{} changes the images {} in another order than {} changes those {}",
                trained.told(),
                self.trained,
                other.told(),
                self.other
            ),
            help: None,
            trained: Some(trained.spot(None)),
            other: Some(other.spot(None)),
        }
    }
}

impl Step {
    fn unknown_help(&self) -> Option<String> {
        let told = "if it is augmentation, `Config::preprocessing` of its stage is where to say so";
        self.unknown.then(|| told.to_owned())
    }
}

/// The size of a whole image, which chance may have a part in.
struct Scaled([[f64; 2]; 2]);

impl fmt::Display for Scaled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [height, width] = self.0.map(|side| side.map(f64::round));
        if height[0] == height[1] && width[0] == width[1] {
            return write!(f, "{}x{} pixels", height[0], width[0]);
        }
        write!(f, "{}x{} to {}x{} pixels", height[0], width[0], height[1], width[1])
    }
}

/// A value for people.
fn shown(value: &Node) -> String {
    match value {
        Node::Text(text) => format!("`{text}`"),
        Node::List(items) => {
            format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
        Node::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{key}: {}", shown(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        Node::Null => "nothing".to_owned(),
        Node::Bool(value) => value.to_string(),
        Node::Int(value) => value.to_string(),
        Node::UInt(value) => value.to_string(),
        Node::Float(value) => value.to_string(),
        Node::Written { text, .. } => text.clone(),
    }
}

/// How images are prepared for the model that a run trains, and what it takes to know that of
/// another run: so that a stage which takes over weights can compare the two without a view of
/// either pipeline.
#[derive(Clone, Default)]
pub(super) struct Planned {
    own: Option<Flow>,
    kinds: Arc<[Kind]>,
}

impl fmt::Debug for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Planned").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Planned {
    /// That of a plan made of these kinds of stages.
    pub(super) fn of(plan: &Plan, kinds: &[Kind]) -> Self {
        Self { own: plan.training_flow(), kinds: kinds.into() }
    }
}

impl TrainingFlow for Planned {
    fn differences_from(
        &self,
        source: &str,
        pipeline: &str,
    ) -> Result<Vec<String>, Vec<Diagnostic>> {
        let (other, _) = Plan::load(&self.kinds, source, pipeline, &[], &RunSettings::default())?;
        let (Some(there), Some(here)) = (other.training_flow(), &self.own) else {
            return Ok(Vec::new());
        };
        let called = Called {
            trained: format!("that {source} was trained on"),
            other: "that this run trains on".to_owned(),
        };
        let differences = there.differences(here, &called);
        Ok(differences.into_iter().map(|difference| difference.message).collect())
    }
}

impl Plan {
    fn training_flow(&self) -> Option<Flow> {
        self.flow_of(self.trainer()?)
    }
}
