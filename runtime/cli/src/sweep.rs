//! `runtime sweep`: how batch and network change the speed of a step.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::App;
use super::bench::{images, seconds, session, trained};
use super::new_file::NewFile;
use super::output::{Failure, complain, print};
use super::pipeline;
use bench::{Point, Sweep};
use compute::adapter::{AdapterReport, select};
use compute::graph::Graph;
use compute::verify::network::fixed_batch;
use flow::stage::RunSettings;
use record::recorder::PROGRAM;
use record::run_folder;

const EXAMPLES: &str = "\
Examples:
  runtime sweep
  runtime sweep benches/nets/*.yaml --adapter cpu --svg sweep.svg
  runtime sweep pipeline.yaml --batch 32,64,128 --adapter lavapipe

No data is read: the images are noise. Nothing is written but what --json and --svg name. Other
programs at work change what is measured.";

/// Measures whole training steps of networks at several batches, as a table in Markdown.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The pipelines whose networks are trained.
    #[arg(value_name = "PIPELINE", default_value = "pipeline.yaml")]
    files: Vec<PathBuf>,

    /// Images in a batch, one number or several.
    #[arg(long, value_name = "IMAGES", value_delimiter = ',', value_parser = images,
          default_values_t = [128, 256, 512, 1024])]
    batch: Vec<usize>,

    /// Replaces a value of each pipeline, such as `seed=1`.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = pipeline::assignment)]
    set: Vec<(String, String)>,

    /// What computes, as in `runtime devices`.
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<String>,

    /// About how long each network is measured at each batch in a round.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,

    /// How often all are measured, in turn; the fastest round counts.
    #[arg(long, value_name = "ROUNDS", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// Writes everything as JSON into this file, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Draws GFLOP/s over the batch into this file, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Batches that are trained on by turns.
const BATCHES: u64 = 2;

/// A network and how it is trained.
struct Network {
    name: String,
    graph: Arc<Graph>,
    settings: RunSettings,
}

pub(super) fn sweep(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let files = [arguments.json.as_ref(), arguments.svg.as_ref()];
    let [json, svg] = NewFile::create_all(files)?;
    let networks = arguments.files.iter().map(|file| load(app, arguments, file));
    let networks: Vec<Network> = networks.collect::<Result<_, _>>()?;
    let adapter =
        select::select(arguments.adapter.as_deref().unwrap_or("auto")).map_err(Failure::of_run)?;
    let peaks = bench::peaks(adapter.as_ref(), &app.probes).map_err(Failure::Run)?;
    let time = Duration::from_secs_f64(arguments.seconds);
    let mut points: Vec<Point> = Vec::new();
    for round in 0..arguments.rounds {
        let all =
            networks.iter().flat_map(|net| arguments.batch.iter().map(move |size| (net, *size)));
        for (at, (network, batch)) in all.enumerate() {
            complain(&format!(
                "round {} of {}: {}, batch {batch}\n",
                round + 1,
                arguments.rounds,
                network.name
            ));
            let mut session = session(
                adapter.as_ref(),
                &network.graph,
                network.settings.compute.lowering(batch),
                network.settings.seed,
            )?;
            let batches = (0..BATCHES).map(|number| fixed_batch(&network.graph, batch, number));
            let batches: Vec<_> = batches.collect::<Result<_, _>>().map_err(Failure::Run)?;
            let steps = bench::steps(&mut session, &batches, time).map_err(Failure::Run)?;
            let point = Point {
                network: network.name.clone(),
                batch,
                micro_batch: session.micro_batch(),
                steps,
            };
            match points.get_mut(at) {
                Some(best) if best.steps.each.median_ms <= steps.each.median_ms => {}
                Some(best) => *best = point,
                None => points.push(point),
            }
        }
    }
    let sweep = Sweep {
        program: PROGRAM.to_owned(),
        time: run_folder::now(),
        adapter: AdapterReport::from(adapter.info()),
        peaks,
        points,
    };
    if let Some(file) = json {
        file.write_json(&sweep)?;
    }
    if let Some(file) = svg {
        file.write(&sweep.svg())?;
    }
    print(&sweep.markdown())
}

fn load(app: &App, arguments: &Arguments, file: &Path) -> Result<Network, Failure> {
    let source = pipeline::Arguments { file: file.to_owned(), set: arguments.set.clone() };
    let mut plan = source.load(app, None, None)?;
    plan.settings.compute.forms = record::recorder::forms(&plan.settings);
    let (_, graph, _) = trained(&plan).map_err(Failure::Run)?;
    let name =
        file.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(Network { name, graph, settings: plan.settings })
}
