//! `runtime bench`: how fast a pipeline is here, and where its time goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use super::new_file::NewFile;
use super::output::{Failure, complain, indent, print, table};
use super::pipeline;

use super::{App, bench_towers};
use base::regular_file;
use base::stop::Stop;
use bench::{Bench, Bound, Flow, KernelTime, Peaks, Scoring};
use compute::adapter::several::Several;
use compute::adapter::{Adapter, AdapterReport, Clock, Lowering, select};
use compute::graph::Graph;
use compute::session::Session;
use flow::event::Event;
use flow::item::{Batch, Item, Limit};
use flow::period::Period;
use flow::plan::Plan;
use flow::port::Port;
use record::recorder::PROGRAM;
use record::run_folder;

const EXAMPLES: &str = "\
Examples:
  runtime bench                              pipeline.yaml on the adapter that `auto` takes
  runtime bench --adapter lavapipe --seconds 20
  runtime bench --json before.json           kept, to be compared with later
  runtime bench --compare before.json

Nothing is written but what --json names. Other programs at work change what is measured.";

/// Measures a pipeline: whole steps, scoring, each kernel, each stage alone and in the pipeline.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The pipeline file.
    #[arg(value_name = "PIPELINE", default_value = "pipeline.yaml")]
    file: PathBuf,

    /// Replaces a value of the pipeline, such as `stages.batch.batcher.size=64`.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = pipeline::assignment)]
    set: Vec<(String, String)>,

    /// The folder that holds the data.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// What computes, as in `runtime devices`.
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<String>,

    /// Measures how these scale instead: so many adapters, `all`, or names with commas between.
    #[arg(long, value_name = "N|all|NAMES", conflicts_with_all = ["adapter", "json", "compare"])]
    adapters: Option<Several>,

    /// How many images are scored at once.
    #[arg(long, value_name = "IMAGES", default_value_t = 1000, value_parser = images)]
    scoring: usize,

    /// About how long the whole steps, scoring and the pipeline are measured, each.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,

    /// Writes everything as JSON into this file, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Compares with what an earlier --json wrote.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// The most images in a batch that is measured.
const MOST_IMAGES: usize = 1 << 20;

pub(super) fn images(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(images) if (1..=MOST_IMAGES).contains(&images) => Ok(images),
        _ => Err(format!("expected a number of images from 1 to {MOST_IMAGES}")),
    }
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds from 0.1 to 3600".to_owned()),
    }
}

/// Kernels with less than this share of the time are not shown one by one, only written as JSON.
const LEAST_SHARE: f64 = 0.005;

/// Batches that whole steps are measured on.
const BATCHES: usize = 4;

pub(super) fn bench(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    if let Some(adapters) = &arguments.adapters {
        return scale(app, arguments, adapters);
    }
    // Before the work: it is not to be lost because a file cannot be read or made.
    let before = arguments.compare.as_deref().map(read).transpose().map_err(Failure::Run)?;
    let file = arguments.json.as_deref().map(NewFile::create).transpose()?;
    let measured = measure(app, arguments)?;
    if let Some(file) = file {
        file.write_json(&measured)?;
    }
    match before {
        Some(before) => print(&compared(&before, &measured)),
        None => Ok(()),
    }
}

fn scale(app: &App, arguments: &Arguments, adapters: &Several) -> Result<(), Failure> {
    let source = pipeline::Arguments { file: arguments.file.clone(), set: arguments.set.clone() };
    let load = || source.load(app, arguments.data.clone(), None);
    let plan = load()?;
    let (batcher, graph, batch) = trained(&plan).map_err(Failure::Run)?;
    let batches = first(load()?, &batcher, BATCHES * batch).map_err(Failure::of_run)?;
    let time = Duration::from_secs_f64(arguments.seconds);
    bench_towers::bench(
        adapters,
        plan.settings.compute.precision,
        &record::recorder::forms(&plan.settings),
        &graph,
        batches,
        time,
    )
}

fn read(path: &Path) -> Result<Bench> {
    let text = regular_file::read_to_string(path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} was not written by `runtime bench --json`", path.display()))
}

/// Measures one thing after the other, and prints each at once.
fn measure(app: &App, arguments: &Arguments) -> Result<Bench, Failure> {
    let source = pipeline::Arguments { file: arguments.file.clone(), set: arguments.set.clone() };
    let load = || source.load(app, arguments.data.clone(), arguments.adapter.clone());
    let mut plan = load()?;
    plan.settings.compute.forms = record::recorder::forms(&plan.settings);
    let load = || {
        let mut again = load()?;
        again.settings.compute.forms = plan.settings.compute.forms.clone();
        Ok::<_, Failure>(again)
    };
    let (batcher, graph, batch) = trained(&plan).map_err(Failure::Run)?;
    let asked = plan.settings.compute.adapter.as_deref().unwrap_or("auto");
    let precision = plan.settings.compute.precision;
    let adapter = select::select_in(asked, precision).map_err(Failure::of_run)?;
    let about = AdapterReport::from(adapter.info());
    let batches = first(load()?, &batcher, BATCHES * batch).map_err(Failure::of_run)?;
    let mut session =
        session(&adapter, &graph, plan.settings.compute.lowering(batch), plan.settings.seed)?;
    print(&format!(
        "{about}, {precision}, {}, batch {batch}{}\n",
        arguments.file.display(),
        match session.micro_batch() {
            whole if whole == batch => String::new(),
            part => format!(" in micro-batches of {part}"),
        }
    ))?;
    let peaks = bench::peaks(&adapter, &app.probes).map_err(Failure::Run)?;
    print(&format!(
        "at most {:.1} GFLOP/s in multiply-adds, {:.1} GB/s from and to memory\n",
        peaks.gflop_per_s, peaks.gbyte_per_s
    ))?;
    let time = Duration::from_secs_f64(arguments.seconds);
    let steps = bench::steps(&mut session, &batches, time).map_err(Failure::Run)?;
    print(&told_steps(&steps, &peaks))?;
    let kernels = bench::kernels(&mut session, &batches[0]).map_err(Failure::Run)?;
    print(&told_kernels(&kernels, &peaks))?;
    let micro_batch = session.micro_batch();
    drop(session);
    let scoring = score(&adapter, &plan, &graph, &batches, arguments)?;
    print(&told_scoring(&scoring, &peaks))?;
    // At least two epochs, so that what comes once does not count much.
    let images = 2 * batches[0].source.epoch_images as usize;
    let input_alone = bench::alone(load()?, &batcher, images).map_err(Failure::Run)?;
    print(&told_flow(&format!("up to {batcher}, nothing behind it"), &input_alone))?;
    let steps_in_time = (arguments.seconds * steps.images_per_s / batch as f64) as u64;
    let pipeline = whole(load()?, steps_in_time.max(10)).map_err(Failure::Run)?;
    print(&told_flow(
        "training without evaluation (what trains does the passes of its model as well)",
        &pipeline,
    ))?;
    Ok(Bench {
        program: PROGRAM.to_owned(),
        time: run_folder::now(),
        adapter: about,
        precision,
        batch,
        micro_batch,
        peaks: Some(peaks),
        steps,
        scoring: Some(scoring),
        kernels,
        input_alone,
        pipeline,
    })
}

pub(super) fn session(
    adapter: &dyn Adapter,
    graph: &Arc<Graph>,
    how: Lowering,
    seed: u64,
) -> Result<Session, Failure> {
    let made = Session::with(adapter, graph, how).and_then(|mut session| {
        session.initialize(seed)?;
        Ok(session)
    });
    made.map_err(Failure::Run)
}

fn score(
    adapter: &dyn Adapter,
    plan: &Plan,
    graph: &Graph,
    batches: &[Batch],
    arguments: &Arguments,
) -> Result<Scoring, Failure> {
    let images = arguments.scoring;
    let how = plan.settings.compute.lowering(images);
    let mut session = session(adapter, &Arc::new(graph.inference()), how, plan.settings.seed)?;
    let time = Duration::from_secs_f64(arguments.seconds);
    bench::scoring(&mut session, batches, images, time).map_err(Failure::Run)
}

/// The stage that makes the batches that are trained on, the model with its update, and the size
/// of a batch.
pub(super) fn trained(plan: &Plan) -> Result<(String, Arc<Graph>, usize)> {
    let trainer = plan.trainer().context("the pipeline trains nothing")?;
    let Some(Port::Weights(graph)) = &plan.stages[trainer].output else {
        return Err(anyhow!("the pipeline trains nothing"));
    };
    let mut at = trainer;
    loop {
        if let Some(Port::Batches(_, size)) = &plan.stages[at].output {
            return Ok((plan.stages[at].id.clone(), Arc::clone(graph), *size));
        }
        at = *plan.stages[at].from.first().context("what trains reads no batches")?;
    }
}

/// The first batches of the pipeline.
fn first(plan: Plan, batcher: &str, images: usize) -> Result<Vec<Batch>> {
    let (plan, gathered) = plan.collecting(batcher, images)?;
    flow::run::run(&plan, Stop::default(), |message| {
        if let Event::Warning(text) = message.event {
            complain(&format!("warning: {text}\n"));
        }
    })?;
    let batches = std::iter::from_fn(|| gathered.try_recv().ok());
    Ok(batches
        .filter_map(|item| match item {
            Item::Batch(batch) => Some(batch),
            _ => None,
        })
        .collect())
}

/// Some steps of everything that is trained with, without a run's folder.
fn whole(plan: Plan, steps: u64) -> Result<Flow> {
    let trainer = plan.trainer().context("the pipeline trains nothing")?;
    let trainer = plan.stages[trainer].id.clone();
    let mut plan = plan.flow_into(&[&trainer])?;
    plan.settings.limit = Limit { steps: Some(steps), epochs: None };
    plan.settings.record.checkpoints.every = Period::default();
    bench::together(&plan)
}

fn told_steps(steps: &bench::Steps, peaks: &Peaks) -> String {
    let bench::Steps { first_ms, each, images_per_s, gflop_per_s } = steps;
    format!(
        "a step: {:.1} ms (median of {}, {:.1} to {:.1}; the first {first_ms:.0} ms), \
         {images_per_s:.0} images/s, {gflop_per_s:.1} GFLOP/s, {:.0} % of the peak\n",
        each.median_ms,
        each.runs,
        each.min_ms,
        each.max_ms,
        100.0 * gflop_per_s / peaks.gflop_per_s,
    )
}

fn told_scoring(scoring: &Scoring, peaks: &Peaks) -> String {
    let Scoring { batch, micro_batch, each, images_per_s, gflop_per_s } = scoring;
    let parts = if micro_batch < batch {
        format!(" in micro-batches of {micro_batch}")
    } else {
        String::new()
    };
    format!(
        "scoring: {images_per_s:.0} images/s at batch {batch}{parts}, {:.1} ms (median of {}, {:.1} \
         to {:.1}), {gflop_per_s:.1} GFLOP/s, {:.0} % of the peak\n",
        each.median_ms,
        each.runs,
        each.min_ms,
        each.max_ms,
        100.0 * gflop_per_s / peaks.gflop_per_s,
    )
}

fn told_kernels(kernels: &[KernelTime], peaks: &Peaks) -> String {
    let total: f64 = kernels.iter().map(|kernel| kernel.each.median_ms).sum();
    let mut rows = vec![
        ["layer", "kernel", "phase", "ms", "share", "GFLOP/s", "GB/s", "of the peak"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let (shown, others): (Vec<&KernelTime>, Vec<&KernelTime>) =
        kernels.iter().partition(|kernel| kernel.each.median_ms >= LEAST_SHARE * total);
    rows.extend(shown.iter().map(|kernel| {
        vec![
            kernel.layer.clone(),
            kernel.form.as_ref().unwrap_or(&kernel.kernel).clone(),
            kernel.phase.clone(),
            format!("{:.3}", kernel.each.median_ms),
            format!("{:.1} %", 100.0 * kernel.each.median_ms / total.max(f64::MIN_POSITIVE)),
            format!("{:.1}", kernel.gflop_per_s()),
            format!("{:.1}", kernel.gbyte_per_s()),
            of_peak(kernel, peaks),
        ]
    }));
    let others_ms: f64 = others.iter().map(|kernel| kernel.each.median_ms).sum();
    format!(
        "each kernel by itself, {}, {total:.1} ms in all:\n{}  and {} others, {others_ms:.1} ms\n",
        told_clocks(kernels),
        indent(&table(&rows), 2),
        others.len()
    )
}

/// Whose clock kernels were timed by: all by the device's, unless it has none or it failed some.
fn told_clocks(kernels: &[KernelTime]) -> String {
    match kernels.iter().filter(|kernel| kernel.clock == Clock::Host).count() {
        0 => "by the device's clock".to_owned(),
        all if all == kernels.len() => "by the host's clock".to_owned(),
        some => format!("by the device's clock ({some} of {} by the host's)", kernels.len()),
    }
}

/// The share of the peak that bounds a kernel, and which that is.
fn of_peak(kernel: &KernelTime, peaks: &Peaks) -> String {
    let of = match peaks.bound(kernel.flop, kernel.bytes) {
        Bound::Arithmetic => "arithmetic",
        Bound::Memory => "memory",
    };
    format!("{:.0} % of {of}", 100.0 * kernel.share_of(peaks))
}

fn told_flow(what: &str, flow: &Flow) -> String {
    let mut rows =
        vec![["stage", "workers", "busy", "alone, images/s"].map(str::to_owned).to_vec()];
    rows.extend(flow.stages.iter().map(|stage| {
        vec![
            stage.stage.clone(),
            stage.workers.to_string(),
            format!("{:.0} %", 100.0 * stage.busy),
            stage.alone_images_per_s.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}")),
        ]
    }));
    let bottleneck = flow.bottleneck.join(" with ");
    format!(
        "{what}: {:.0} images/s, the bottleneck is {bottleneck}\n{}",
        flow.images_per_s,
        indent(&table(&rows), 2)
    )
}

fn compared(before: &Bench, now: &Bench) -> String {
    let mut rows = vec![["", "before", "now", "unit", "faster by"].map(str::to_owned).to_vec()];
    rows.extend(bench::compare(before, now).into_iter().map(|ratio| {
        vec![
            ratio.what,
            format!("{:.3}", ratio.before),
            format!("{:.3}", ratio.now),
            ratio.unit.to_owned(),
            format!("{:.2}", ratio.speed_up),
        ]
    }));
    let mut unlike = if before.adapter == now.adapter && before.batch == now.batch {
        String::new()
    } else {
        format!(
            "note: before it was {} with batches of {}, now it is {} with {}\n",
            before.adapter, before.batch, now.adapter, now.batch
        )
    };
    let (clocks_before, clocks) = (told_clocks(&before.kernels), told_clocks(&now.kernels));
    if clocks_before != clocks {
        unlike += &format!("note: before kernels were timed {clocks_before}, now {clocks}\n");
    }
    format!("against {} of {}:\n{}{unlike}", before.program, before.time, indent(&table(&rows), 2))
}
