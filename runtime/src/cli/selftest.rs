//! `runtime selftest`: does this adapter compute correctly?

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use serde::Serialize;

use super::App;
use super::output::{Failure, print};
use crate::adapter::{Adapter, Info, select};
use crate::verify;

const EXAMPLES: &str = "\
Examples:
  runtime selftest
  runtime selftest --adapter lavapipe
  runtime selftest --all --json report.json

Attach the JSON to a bug report.";

/// Holds an adapter's results against slow reference arithmetic in 64 bits.
///
/// Every kernel in every variant on odd sizes, the whole network's gradient against the slope
/// that the adapter itself measures, and 20 training steps against a recorded loss curve.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Which adapter, by number or name as in `runtime devices`.
    #[arg(long, value_name = "ADAPTER", default_value = "auto")]
    adapter: String,

    /// Tests every adapter of this machine.
    #[arg(long, conflicts_with = "adapter")]
    all: bool,

    /// Writes everything measured to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What was found on one adapter.
#[derive(Debug, Serialize)]
struct Report {
    gradflow: &'static str,
    adapter: Info,
    kernels: Vec<KernelReport>,
    /// By how much the gradient misses the measured slope, relatively.
    slope_error: f64,
    /// How far the loss strays from the recorded curve, and its bound.
    curve_error: f64,
    curve_bound: f64,
    curve: Vec<f64>,
    seconds: f64,
    passed: bool,
}

#[derive(Debug, Serialize)]
struct KernelReport {
    kernel: &'static str,
    runs: usize,
    /// The run that came closest to its bound, or went beyond it.
    worst: Option<verify::Outcome>,
    failed: Vec<verify::Outcome>,
}

pub(super) fn selftest(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let adapters = if arguments.all {
        select::all().map_err(Failure::Run)?
    } else {
        let message =
            |error: anyhow::Error| Failure::Usage { message: format!("{error:#}"), help: None };
        vec![select::select(&arguments.adapter).map_err(message)?]
    };
    let mut reports = Vec::new();
    for adapter in &adapters {
        let info = adapter.info();
        print(&format!("{}/{} ({})\n", info.backend, info.name, info.driver))?;
        reports.push(test(app, adapter.as_ref())?);
    }
    if let Some(file) = &arguments.json {
        write(file, &reports).map_err(Failure::Run)?;
    }
    match reports.iter().filter(|report| !report.passed).count() {
        0 => Ok(()),
        failed => Err(Failure::Run(anyhow!(
            "{failed} of {} adapters compute wrongly: update the driver, or take another adapter",
            reports.len()
        ))),
    }
}

fn write(file: &PathBuf, reports: &[Report]) -> Result<()> {
    let text = serde_json::to_string_pretty(reports)?;
    // A report that is already there is somebody's: it is not overwritten.
    std::fs::File::create_new(file)
        .and_then(|mut created| std::io::Write::write_all(&mut created, text.as_bytes()))
        .with_context(|| format!("could not write {}", file.display()))
}

fn test(app: &App, adapter: &dyn Adapter) -> Result<Report, Failure> {
    let start = Instant::now();
    let mut kernels = Vec::new();
    for kernel in app.kernels {
        let outcomes = verify::kernel(adapter, kernel)
            .with_context(|| format!("kernel {}", kernel.name))
            .map_err(Failure::Run)?;
        let share = |o: &verify::Outcome| o.worst_error / o.bound.max(f64::MIN_POSITIVE);
        let runs = outcomes.len();
        let worst = outcomes.iter().max_by(|a, b| share(a).total_cmp(&share(b))).cloned();
        let failed: Vec<_> = outcomes.into_iter().filter(|outcome| !outcome.passed).collect();
        let report = KernelReport { kernel: kernel.name, runs, worst, failed };
        print(&describe(&report))?;
        kernels.push(report);
    }
    let slope_error = (app.golden.slope_error)(adapter).map_err(Failure::Run)?;
    print(&verdict("gradient against measured slope", slope_error, SLOPE_BOUND))?;
    let curve = (app.golden.curve)(adapter).map_err(Failure::Run)?;
    let curve_error = (app.golden.worst)(&curve);
    print(&verdict("20 steps against the recorded curve", curve_error, app.golden.bound))?;
    let passed = kernels.iter().all(|report| report.failed.is_empty())
        && slope_error < SLOPE_BOUND
        && curve_error < app.golden.bound;
    let seconds = start.elapsed().as_secs_f64();
    let word = if passed { "passed" } else { "FAILED" };
    print(&format!("  {word} in {seconds:.0} s\n"))?;
    Ok(Report {
        gradflow: env!("CARGO_PKG_VERSION"),
        adapter: adapter.info().clone(),
        kernels,
        slope_error,
        curve_error,
        curve_bound: app.golden.bound,
        curve,
        seconds,
        passed,
    })
}

/// How far a gradient may miss the slope that f32 losses can resolve.
const SLOPE_BOUND: f64 = 0.01;

fn describe(report: &KernelReport) -> String {
    let runs = format!("{} ({} runs)", report.kernel, report.runs);
    let (error, bound) = report.worst.as_ref().map_or((0.0, 0.0), |o| (o.worst_error, o.bound));
    let mut text = verdict(&runs, error, bound);
    if report.failed.is_empty() {
        return text;
    }
    text = text.replace("ok  ", "FAIL");
    for outcome in &report.failed {
        text += &format!("       {outcome}\n");
    }
    text
}

fn verdict(what: &str, error: f64, bound: f64) -> String {
    let word = if error <= bound { "ok  " } else { "FAIL" };
    format!("  {word} {what:<46} error {error:.1e} of {bound:.1e} allowed\n")
}
