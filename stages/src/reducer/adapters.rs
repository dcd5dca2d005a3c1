//! What trains: one adapter or several, and how these share a batch.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use compute::adapter::host::Cpu;
use compute::adapter::several::{Chosen, Several};
use compute::adapter::variants::{Record, Variants};
use compute::adapter::{Adapter, AdapterReport, Info};
use compute::graph::Graph;
use compute::job::Lane;
use compute::job::seats::Seats;
use compute::session::Session;
use compute::towers::journal;
use compute::towers::{self, BUCKET_BYTES, Lost, Rules, Towers, Trainer, Watch};
use flow::event::{Event, Events, SharesReport};
use flow::reports::{Change, TowerReport};
use flow::stage::{Context, Mismatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Reducer;

/// What a batch of the pipeline is where several adapters train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchOf {
    /// That of a step: it is split over the adapters, and their number changes nothing else.
    #[default]
    Global,
    /// That of one adapter, as in the tutorial: a step takes as many batches as there are adapters.
    PerAdapter,
}

/// How a batch is split over several adapters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Balance {
    /// In proportion to their speeds, as these are measured.
    #[default]
    Speed,
    /// In equal parts.
    Equal,
    /// As a file says that a run has left, its `balance.jsonl`.
    File(String),
}

impl From<String> for Balance {
    fn from(text: String) -> Self {
        match text.as_str() {
            "speed" => Self::Speed,
            "equal" => Self::Equal,
            _ => Self::File(text),
        }
    }
}

impl From<Balance> for String {
    fn from(balance: Balance) -> Self {
        match balance {
            Balance::Speed => "speed".to_owned(),
            Balance::Equal => "equal".to_owned(),
            Balance::File(path) => path,
        }
    }
}

/// What computes the steps, and what there is to say of it.
pub(super) struct Made {
    pub(super) trainer: Trainer,
    /// The first adapter.
    pub(super) adapter: Arc<dyn Adapter>,
    /// The adapter that the weights are with.
    pub(super) holder: Arc<dyn Adapter>,
    /// Images of a step.
    pub(super) batch: usize,
    /// Batches of the pipeline that make one step.
    pub(super) batches: usize,
    /// What runs on the first adapter.
    pub(super) variants: Variants,
    pub(super) towers: Vec<TowerReport>,
    /// What runs where the weights of several towers are.
    pub(super) held: Option<Record>,
    /// What runs in other processes of the job, by tower.
    pub(super) elsewhere: BTreeMap<String, Record>,
    /// The towers of each process; empty for one that is alone.
    pub(super) processes: Vec<usize>,
}

impl Reducer {
    /// What is wrong with the fields about adapters.
    pub(super) fn check_adapters(&self, batch: usize) -> Vec<Mismatch> {
        let Some(adapters) = &self.adapters else { return Vec::new() };
        let mut wrong = adapters.mistakes("adapters");
        let towers = adapters.towers().unwrap_or(1);
        if self.batch == BatchOf::Global && towers > batch {
            wrong.push(
                Mismatch::field("adapters", too_small(batch, towers))
                    .help("make batches larger, or set `batch: per_adapter`"),
            );
        }
        wrong
    }

    /// Makes what trains this model.
    pub(super) fn make(
        &self,
        graph: &Arc<Graph>,
        batch: usize,
        context: &Context<'_>,
    ) -> Result<Made> {
        let adapters = self.choose(batch, context)?;
        let (job, lane) = (&context.run.job, context.run.job.lane_of(context.stage)?);
        let counts: Vec<usize> =
            lane.meet(adapters.len() as u64)?.into_iter().map(|count| count as usize).collect();
        job.take_seats(Seats::new(&counts, job.rank()));
        if context.run.diagnose.is_some() {
            // Every tensor is looked at where all of them are: on one adapter.
            let observed = Arc::new(graph.observed());
            let towers = counts.iter().sum();
            let made = self.one(&adapters[0], &observed, self.images(batch, towers), context)?;
            let batches = if self.batch == BatchOf::PerAdapter { towers } else { 1 };
            return Ok(Made { batches, ..made });
        }
        match adapters.as_slice() {
            [adapter] if !job.is_shared() => self.one(adapter, graph, batch, context),
            several => {
                let made = self.several(several, graph, batch, lane, context)?;
                if !job.is_shared() {
                    return Ok(made);
                }
                self.with_others(made, counts, context)
            }
        }
    }

    /// Adds what runs in the other processes.
    fn with_others(
        &self,
        made: Made,
        processes: Vec<usize>,
        context: &Context<'_>,
    ) -> Result<Made> {
        let record = |tower: &TowerReport| Record {
            adapter: AdapterReport::from(&tower.adapter),
            variants: tower.variants.clone(),
        };
        let own = made.towers.iter().map(|tower| (tower.name.clone(), record(tower)));
        let own = serde_json::to_vec(&own.collect::<BTreeMap<_, _>>())?;
        let job = &context.run.job;
        let mut elsewhere = BTreeMap::new();
        for (rank, theirs) in job.lane_of(context.stage)?.gather(&own)?.iter().enumerate() {
            if rank != job.rank() {
                elsewhere.extend(serde_json::from_slice::<BTreeMap<_, _>>(theirs)?);
            }
        }
        // Each process applies the updates itself, and all must come to the same bits.
        let update = made.held.as_ref().and_then(|held| held.variants.instructions.clone());
        job.alike("instructions of the update", update.unwrap_or_default());
        Ok(Made { elsewhere, processes, ..made })
    }

    fn images(&self, batch: usize, towers: usize) -> usize {
        match self.batch {
            BatchOf::Global => batch,
            BatchOf::PerAdapter => batch.saturating_mul(towers),
        }
    }

    fn choose(&self, batch: usize, context: &Context<'_>) -> Result<Vec<Arc<dyn Adapter>>> {
        let precision = context.run.precision;
        let asked = context.run.adapters.as_ref().or(self.adapters.as_ref());
        let Some(asked) = asked else {
            let asked = context.run.adapter.as_deref().unwrap_or("auto");
            return Ok(vec![context.run.brought.select_in(asked, precision)?]);
        };
        let Chosen { towers, missing } = asked.choose(&context.run.brought, precision)?;
        if let Some(missing) = missing {
            ensure!(!context.run.strict, "{missing}");
            context.events.emit(Event::Warning(format!("{missing}. The run takes what there is")));
        }
        if let (Some(own), Some(_)) = (&self.adapters, &context.run.adapters)
            && let Some(replaced) = self.replaced(own, towers.len(), batch, context)
        {
            ensure!(!(context.run.strict && context.run.adapter_alone), "{replaced}");
            if context.run.job.is_first() {
                context.events.emit(Event::Warning(replaced));
            }
        }
        Ok(towers)
    }

    /// What there is to say where the command line's adapters replace the pipeline's. `--adapter`
    /// does it in passing, and with batches for each adapter another number of them is another
    /// training.
    fn replaced(
        &self,
        own: &Several,
        towers: usize,
        batch: usize,
        context: &Context<'_>,
    ) -> Option<String> {
        if context.run.adapters.as_ref() == Some(own) {
            return None;
        }
        let each = self.batch == BatchOf::PerAdapter;
        // The pipeline's may not be here, which is a reason to name others.
        let chosen = || own.choose(&context.run.brought, context.run.precision).ok();
        let before = match own.towers() {
            None if each => chosen().map(|chosen| chosen.towers.len()),
            towers => towers,
        };
        let trains_otherwise = each && before != Some(towers);
        if !(context.run.adapter_alone || trains_otherwise) {
            return None;
        }
        let option = if context.run.adapter_alone { "--adapter" } else { "--adapters" };
        let mut text = format!(
            "`{option}` counts more than the pipeline, and replaces the `adapters` of {}",
            context.stage
        );
        if trains_otherwise {
            let of_pipeline = match before {
                Some(before) => format!("{} with the pipeline's", self.images(batch, before)),
                None => "another number with the pipeline's".to_owned(),
            };
            let images = self.images(batch, towers);
            text += &format!(
                ". With `batch: per_adapter` a step has {images} images, and {of_pipeline}: this is \
                 another training"
            );
        }
        if context.run.adapter_alone {
            text += ".\nName what trains by `--adapters`, or leave `--adapter` out";
        }
        Some(text)
    }

    fn one(
        &self,
        adapter: &Arc<dyn Adapter>,
        graph: &Arc<Graph>,
        batch: usize,
        context: &Context<'_>,
    ) -> Result<Made> {
        let info = adapter.info();
        let how = context.run.lowering(context.run.forms.micro_batch(info, batch));
        let session = Session::with(adapter.as_ref(), graph, how)?;
        let who = format!("{}/{}", info.backend, info.name);
        Ok(Made {
            variants: session.variants(),
            trainer: Trainer::one(session, who, self.on_loss),
            adapter: Arc::clone(adapter),
            holder: Arc::clone(adapter),
            batch,
            batches: 1,
            towers: Vec::new(),
            held: None,
            elsewhere: BTreeMap::new(),
            processes: Vec::new(),
        })
    }

    fn several(
        &self,
        adapters: &[Arc<dyn Adapter>],
        graph: &Arc<Graph>,
        batch: usize,
        lane: Lane,
        context: &Context<'_>,
    ) -> Result<Made> {
        let shared = lane.job().is_shared();
        let towers = lane.job().seats().all();
        let batches = if self.batch == BatchOf::PerAdapter { towers } else { 1 };
        let batch = batch.saturating_mul(batches);
        ensure!(batch >= towers, too_small(batch, towers));
        let events = context.events.clone();
        let rules = Rules {
            // Of several processes each has its images before it knows how fast the others are.
            follow_speed: self.balance == Balance::Speed && !shared,
            given: self.given(batch, adapters, towers, context)?,
            on_loss: self.on_loss,
            forms: context.run.forms.clone(),
            watch: Box::new(Told { events }),
            lane,
            bucket_bytes: BUCKET_BYTES,
        };
        // By the processor, as in the tutorial: the weights survive the loss of any adapter.
        let holder: Arc<dyn Adapter> = Arc::new(Cpu::new(0)?);
        let each: Vec<&dyn Adapter> = adapters.iter().map(AsRef::as_ref).collect();
        let several = Towers::new(&each, holder.as_ref(), graph, batch, rules)?;
        let (towers, variants) = (several.reports(), several.holder_variants());
        let held = Record { adapter: AdapterReport::from(holder.info()), variants };
        Ok(Made {
            variants: towers.first().map(|first| first.variants.clone()).unwrap_or_default(),
            towers,
            held: Some(held),
            elsewhere: BTreeMap::new(),
            processes: Vec::new(),
            trainer: Trainer::Several(Box::new(several)),
            adapter: Arc::clone(&adapters[0]),
            holder,
            batch,
            batches,
        })
    }

    /// The shares that are given: by a file, or by what a run that goes on had.
    fn given(
        &self,
        batch: usize,
        adapters: &[Arc<dyn Adapter>],
        towers: usize,
        context: &Context<'_>,
    ) -> Result<Vec<Change>> {
        let names: Vec<String> = (0..towers).map(towers::name).collect();
        match &self.balance {
            Balance::Equal => Ok(Vec::new()),
            Balance::File(_) if context.run.job.is_shared() => bail!(
                "`balance` names a file of shares, and those of several processes are equal.\nSet \
                 `balance: equal`"
            ),
            Balance::Speed if context.run.job.is_shared() => Ok(Vec::new()),
            Balance::File(path) => {
                let path = context.run.folder.join(Path::new(path));
                let changes = journal::read(&path).context("`balance` names no file of shares")?;
                let wrong = || format!("{} does not fit this run", path.display());
                journal::check(&changes, batch, &names).with_context(wrong)?;
                Ok(changes)
            }
            Balance::Speed => {
                let Some(resume) = &context.run.resume else { return Ok(Vec::new()) };
                let changes = resume.shares.as_slice();
                if changes.is_empty() {
                    return Ok(Vec::new());
                }
                let step = resume.weights.progress.steps;
                let fits = journal::check(changes, batch, &names)
                    .and_then(|()| journal::check_towers(changes, step, &names))
                    .and_then(|()| same_adapters(adapters, context));
                match fits {
                    Ok(()) => Ok(changes.to_vec()),
                    Err(error) => {
                        let text = format!(
                            "the shares that the run had are left out, as other adapters take \
                             part or batches are others, and begin equal: {error}"
                        );
                        context.events.emit(Event::Warning(text));
                        Ok(Vec::new())
                    }
                }
            }
        }
    }
}

/// Whether a run that goes on has the adapters that it had, as far as that was kept: the shares of
/// other ones say nothing of their speed.
fn same_adapters(adapters: &[Arc<dyn Adapter>], context: &Context<'_>) -> Result<()> {
    let Some(record) = context.run.forms.record() else { return Ok(()) };
    for (number, adapter) in adapters.iter().enumerate() {
        let (name, now) = (towers::name(number), AdapterReport::from(adapter.info()));
        if let Some(before) = record.towers.get(&name).map(|record| &record.adapter)
            && (&before.backend, &before.name) != (&now.backend, &now.name)
        {
            bail!(
                "{name} was on {}/{}, and is on {}/{}",
                before.backend,
                before.name,
                now.backend,
                now.name
            );
        }
    }
    Ok(())
}

fn too_small(batch: usize, towers: usize) -> String {
    format!("a batch of {batch} images cannot be split over {towers} adapters")
}

/// Such as `vulkan/NVIDIA GeForce RTX 3060 (driver)`.
pub(super) fn described(info: &Info) -> String {
    format!("{}/{} ({})", info.backend, info.name, info.driver)
}

/// Such as `3 x cpu/cpu (avx512), vulkan/llvmpipe (Mesa 22.3.6)`.
pub(super) fn counted(adapters: impl Iterator<Item = AdapterReport>) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for adapter in adapters {
        let name = format!("{}/{} ({})", adapter.backend, adapter.name, adapter.driver);
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    let each = counts.into_iter().map(|(name, count)| match count {
        1 => name,
        count => format!("{count} x {name}"),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Tells what becomes of the towers.
struct Told {
    events: Events,
}

impl Watch for Told {
    fn shares(&mut self, change: &Change) -> bool {
        let (report, written) = SharesReport::new(change.clone());
        self.events.emit(Event::Shares(report));
        // Where nobody keeps the run, nothing has to be written down.
        written.recv_blocking().unwrap_or(true)
    }

    fn lost(&mut self, lost: &Lost) {
        let text = format!("{lost}. The step is done again without it");
        self.events.emit(Event::Warning(text));
    }
}

/// The error of a run that ends because an adapter was lost.
pub(super) fn stopped(lost: &Lost, steps: u64) -> anyhow::Error {
    anyhow!(
        "{lost}.\n`on_loss: stop` ends the run then. The weights after {steps} steps are kept: go \
         on with `runtime run --resume`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balance_is_a_word_or_a_file() {
        for (text, expected) in [
            ("speed", Balance::Speed),
            ("equal", Balance::Equal),
            ("runs/a/balance.jsonl", Balance::File("runs/a/balance.jsonl".to_owned())),
        ] {
            let balance = Balance::from(text.to_owned());
            assert_eq!(balance, expected);
            assert_eq!(String::from(balance), text);
        }
    }
}
