//! Owns the weights: computes gradients on its adapters, applies them, keeps moving averages.

mod adapters;
mod join;
mod reduce;
mod speed;
mod start;
mod summary;
pub mod update;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use compute::adapter::AdapterReport;
use compute::adapter::several::Several;
use compute::graph::Graph;
use compute::pass::{Pass, StepsAhead};
use compute::precision::Precision;
use compute::towers::OnLoss;
use flow::event::Event;
use flow::item::Progress;
use flow::lint::{Around, Note};
use flow::period::Period;
use flow::port::Port;
use flow::reports::{TowerReport, TrainerReport};
use flow::stage::{Config, Context, Field, Kind, Mismatch, Runner, read_later};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use adapters::{Balance, BatchOf, Made, counted, described};
use reduce::Reduce;
use summary::Summaries;
use update::Update;

use crate::Catalog;
use crate::data::thousands;
use crate::lints::{ADAMW_WITHOUT_DECAY, FROZEN_AS_DRAWN, INIT_FROM_DIFFERS, LONG_WARM_UP};
use crate::optimizer::Optimizer;
use crate::schedule::{RunExtent, Schedule};

/// Trains: one step of the optimiser per batch, then the moving averages of the new weights.
///
/// In this order: what weight decay adds to the loss and the gradients, clipping, the optimiser's
/// step, the averages. TensorFlow leaves open which of the last two comes first.
///
/// The averages' decay at step `t` is `min(moving_average, (1 + t) / (10 + t))`, so that early
/// weights are forgotten quickly.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reducer {
    /// How far each step goes against the gradient: a number, or a schedule over the images seen
    /// before the step, whatever the size of a batch and the number of adapters.
    #[serde(default, deserialize_with = "read_later")]
    #[schemars(with = "serde_json::Value")]
    pub learning_rate: Schedule,
    /// How weights follow their gradients.
    #[serde(default, deserialize_with = "read_later")]
    #[schemars(with = "serde_json::Value")]
    pub optimizer: Optimizer,
    /// The largest norm of all gradients together, those of weight decay included: longer ones are
    /// scaled down to it. Off if absent.
    #[serde(default)]
    pub clip_norm: Option<f64>,
    /// The decay of the weights' moving averages, 0 to below 1. Evaluation uses the averages. At step
    /// `t`, counted from 0, the decay is `min(moving_average, (1 + t) / (10 + t))`, as with TensorFlow's
    /// `num_updates`: in a short run it is the second that counts.
    #[serde(default = "moving_average")]
    pub moving_average: f64,
    /// The run ends as diverged once the loss is so many times what it was at first (or 1, if it
    /// was less); 0 for never. Numbers that are not finite end it in any case.
    #[serde(default = "blow_up")]
    pub blow_up: f64,
    /// How often weights are handed on to be evaluated, beside at the end.
    #[serde(default = "evaluate")]
    pub evaluate: Period,
    /// A run's folder or a checkpoint's file, whose weights the run begins with: each layer takes
    /// those of the layer of its name if all have its shapes, and begins anew if not. Averages begin
    /// there too, what the optimiser keeps at 0. Relative paths begin at this file's folder. A run
    /// that goes on has its own checkpoint and ignores this.
    #[serde(default)]
    pub init_from: Option<PathBuf>,
    /// The adapters that train together: so many, `all`, or a list of indices and names, of which
    /// `{ adapter: NAME, replicas: 2 }` is one with two replicas of the model. A number and `all`
    /// count each device once, on its best backend, and leave out software rasterisers; they count
    /// `cpu` only if there is nothing else. If absent, the run's `adapter` trains alone. `--adapters`
    /// and `--adapter` on the command line replace them.
    #[serde(default)]
    pub adapters: Option<Several>,
    /// What a batch that comes in is where several adapters train.
    #[serde(default)]
    pub batch: BatchOf,
    /// How a batch is split over several adapters: `speed` follows their speeds, `equal` takes equal
    /// parts, and anything else names a file that an earlier run has left, its `balance.jsonl`.
    /// With shares that are equal or from a file, two runs give the same bits. Where several processes
    /// train together, shares are equal.
    #[serde(default)]
    pub balance: Balance,
    /// What is done when an adapter is lost.
    #[serde(default)]
    pub on_loss: OnLoss,
}

fn moving_average() -> f64 {
    0.9999
}

fn blow_up() -> f64 {
    100.0
}

fn evaluate() -> Period {
    Period::epochs(1.0)
}

/// The kind.
pub fn kind(catalog: &Catalog) -> Kind {
    let (schedules, optimizers) = (catalog.schedules.clone(), catalog.optimizers.clone());
    let known = schedules.clone();
    let learning_rate = Field::new(
        "learning_rate",
        move |generator| Schedule::schema(&known, generator),
        move |node, path, problems| Schedule::read(&schedules, node, path, problems),
        |reducer: &mut Reducer, schedule| reducer.learning_rate = schedule,
    );
    let optimizer =
        Field::choice("optimizer", "optimizer", optimizers, |reducer: &mut Reducer, chosen| {
            reducer.optimizer = Optimizer(chosen);
        });
    let kind = Kind::with_fields::<Reducer>(
        "reducer",
        "Owns the weights: computes and applies gradients, keeps moving averages, hands weights \
         on for evaluation.",
        "{ learning_rate: 0.1, moving_average: 0.9999 }",
        vec![learning_rate, optimizer],
    );
    let lints = vec![&ADAMW_WITHOUT_DECAY, &LONG_WARM_UP, &FROZEN_AS_DRAWN, &INIT_FROM_DIFFERS];
    Kind { lints, ..kind }
}

impl Reducer {
    /// What is said of a warm-up that is found to be as long as the run only once the images of an
    /// epoch are counted.
    fn warm_up_of_data(&self, context: &Context<'_>, batch: usize) -> Option<String> {
        let source = context.sources.first().and_then(Option::as_ref)?;
        let limit = context.run.limit.and(source.limit.as_ref());
        let pass = Pass::open(source.epoch_images, batch as u64);
        let ahead = StepsAhead { pass, batches: 1, done: Progress::default() };
        let extent = RunExtent::of(&limit, &ahead);
        let known_before = self.batch == BatchOf::Global
            && self.learning_rate.long_warm_up(&context.run.limit, batch).is_some();
        self.learning_rate.warms_up_throughout(&extent).filter(|_| !known_before)
    }

    /// The model with the terms of its loss and its update.
    fn extend(&self, graph: &Graph) -> Result<Graph, Mismatch> {
        let update = Update { optimizer: self.optimizer.clone(), clip_norm: self.clip_norm };
        update.extend(graph.clone())
    }
}

impl Config for Reducer {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let [Port::Gradients(graph, batch)] = inputs else {
            return Err(Mismatch::new("a reducer takes the gradients of one model")
                .help("`from:` a model that has layers"));
        };
        let mut wrong = self.learning_rate.check("learning_rate");
        wrong.extend(self.optimizer.check().into_iter().map(|one| one.below(&["optimizer"])));
        // In f32, where what is tiny is 0.
        if let Some(norm) = self.clip_norm
            && !(f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&norm)
        {
            let found = format!("expected a norm above 0, found {norm}");
            wrong.push(Mismatch::field("clip_norm", found).help("leave it out to clip nothing"));
        }
        if !(0.0..1.0).contains(&self.moving_average) {
            let found =
                format!("expected a decay from 0 to below 1, found {}", self.moving_average);
            wrong.push(
                Mismatch::field("moving_average", found)
                    .help("0 keeps no average, 0.9999 is the tutorial's"),
            );
        }
        if !(self.blow_up == 0.0 || (self.blow_up > 1.0 && self.blow_up.is_finite())) {
            let found = format!("expected a factor above 1, found {}", self.blow_up);
            wrong.push(Mismatch::field("blow_up", found).help("0 never ends a run for its loss"));
        }
        wrong.extend(self.evaluate.mistakes("evaluate"));
        wrong.extend(self.check_adapters(*batch));
        Mismatch::all(wrong)?;
        Ok(Some(Port::Weights(Arc::new(self.extend(graph)?))))
    }

    fn passes_absent(&self) -> bool {
        true
    }

    fn notes(&self, around: &Around<'_>) -> Vec<Note> {
        let [Port::Gradients(graph, batch)] = around.inputs else { return Vec::new() };
        let frozen: Vec<&str> = graph.frozen().map(|layer| layer.name.as_str()).collect();
        let as_drawn = (self.init_from.is_none() && !frozen.is_empty()).then(|| {
            FROZEN_AS_DRAWN.note(Mismatch::new(format!(
                "without `init_from`, what is frozen keeps the weights that are drawn at first: {}",
                frozen.join(", ")
            )))
        });
        let decay = graph.parameters.iter().any(|parameter| parameter.weight_decay != 0.0);
        let without_decay = self.optimizer.without_decay().filter(|_| !decay).map(|same| {
            let message = format!("no layer has a weight decay, and without it this is `{same}`");
            let help = format!("give layers a `weight_decay`, or write `{same}`");
            ADAMW_WITHOUT_DECAY.note(Mismatch::field("optimizer", message).help(help))
        });
        // How many adapters there are, and with them the images of a step, may not be known here.
        let long = match self.batch {
            BatchOf::Global => self.learning_rate.long_warm_up(&around.run.limit, *batch),
            BatchOf::PerAdapter => None,
        };
        let long = long.map(|what| LONG_WARM_UP.note(what.below(&["learning_rate"])));
        [as_drawn, without_decay, long].into_iter().flatten().collect()
    }

    fn adjustable(&self) -> &'static [&'static str] {
        &[
            "learning_rate",
            "clip_norm",
            "moving_average",
            "blow_up",
            "evaluate",
            "init_from",
            "adapters",
            "balance",
            "on_loss",
        ]
    }

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        let [Port::Gradients(graph, batch)] = context.inputs else {
            bail!("a reducer takes the gradients of one model");
        };
        let graph = &Arc::new(self.extend(graph).map_err(|wrong| anyhow!(wrong.message))?);
        let made = self.make(graph, *batch, context)?;
        let Made {
            mut trainer,
            adapter,
            holder,
            batch,
            batches,
            variants,
            towers,
            held,
            elsewhere,
            processes,
        } = made;
        let mut started = None;
        match (&context.run.resume, &self.init_from) {
            (Some(resume), _) => trainer.load(&resume.weights)?,
            (None, None) => trainer.initialize(context.run.seed)?,
            (None, Some(path)) => {
                let (weights, start) = start::read(path, graph, context)?;
                trainer.load(&weights)?;
                if let Some(told) = start.frozen_anew(graph) {
                    context.events.emit(Event::Warning(told));
                }
                for told in start.prepared_otherwise(context) {
                    context.remark(&INIT_FROM_DIFFERS, &told);
                }
                started = Some(start);
            }
        }
        if let Some(told) = self.warm_up_of_data(context, batch) {
            context.remark(&LONG_WARM_UP, &told);
        }
        let info = adapter.info();
        let (told, parts) = match towers.as_slice() {
            _ if !processes.is_empty() => {
                let ran = towers.iter().map(|tower| AdapterReport::from(&tower.adapter));
                let ran = ran.chain(elsewhere.values().map(|record| record.adapter.clone()));
                let adapters = processes.iter().sum::<usize>();
                let parts = format!(
                    " in all, over {adapters} {} of {} processes",
                    if adapters == 1 { "adapter" } else { "adapters" },
                    processes.len()
                );
                (counted(ran), parts)
            }
            [] if variants.micro_batch == batch => (described(info), String::new()),
            [] => (described(info), format!(", in micro-batches of {}", variants.micro_batch)),
            towers => {
                let each =
                    |tower: &TowerReport| format!("{}: {}", tower.name, described(&tower.adapter));
                let each: Vec<String> = towers.iter().map(each).collect();
                let shares: Vec<String> = towers.iter().map(|t| t.images.to_string()).collect();
                (each.join(", "), format!(" in all: {}", shares.join(" + ")))
            }
        };
        let in_precision = match context.run.compute.precision {
            Precision::F32 => String::new(),
            other => format!(", {other} with f32 weights"),
        };
        context.events.emit(Event::Trainer(Box::new(TrainerReport {
            stage: context.stage.to_owned(),
            adapter: info.clone(),
            batch,
            variants,
            towers,
            holder: held,
            elsewhere,
            processes,
        })));
        let frozen = match graph.frozen_count() {
            0 => String::new(),
            count => format!(", {} of them frozen", thousands(count as u64)),
        };
        context.events.fact("adapter", format!("{told}{in_precision}"));
        context.events.fact(
            "model",
            format!(
                "{} parameters{frozen}, {} multiply-adds an image, batch {batch}{parts}",
                thousands((graph.parameter_count() + graph.frozen_count()) as u64),
                thousands(graph.multiply_adds()),
            ),
        );
        if let Some(start) = &started {
            context.events.fact("begins with", start.told());
        }
        let summaries = match context.run.diagnose {
            // Where the weights are: what is lost takes no more along than they do.
            None if context.run.compute.job.is_first() => {
                Summaries::new(holder.as_ref(), graph, batch, context)?
            }
            _ => None,
        };
        let reduce = Reduce::new(self.clone(), graph, trainer, batches, summaries, context)?
            .started(started);
        Ok(Runner::Stage(Box::new(reduce)))
    }
}
