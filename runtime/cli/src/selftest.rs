//! `runtime selftest`: does this adapter compute correctly?

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Error, Result, anyhow};
use clap::Args;
use serde::Serialize;

use super::App;
use super::output::{Failure, print};
use compute::adapter::{Adapter, Info, Precise, select};
use compute::precision::Precision;
use compute::verify;

const EXAMPLES: &str = "\
Examples:
  runtime selftest
  runtime selftest --adapter lavapipe
  runtime selftest --all --json report.json

Attach the JSON to a bug report.";

/// Holds an adapter's results against slow reference arithmetic in 64 bits.
///
/// Every kernel in every variant on odd sizes, the whole network's gradient against the slope
/// that the adapter itself measures, and 20 training steps against a recorded loss curve; in each
/// precision that the adapter offers, but for the slope, which 16 bits do not resolve.
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
    precision: Precision,
    kernels: Vec<KernelReport>,
    /// By how much the gradient misses the measured slope, relatively; `null` if it did not run,
    /// as in 16 bits.
    slope_error: Option<f64>,
    /// How far the loss strays from the recorded curve, and its bound; `null` if it did not run.
    curve_error: Option<f64>,
    curve_bound: f64,
    curve: Vec<f64>,
    /// What did not run at all, beside kernels.
    errors: Vec<String>,
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
        let message = |error: Error| Failure::Usage { message: format!("{error:#}"), help: None };
        vec![select::select(&arguments.adapter).map_err(message)?]
    };
    // Before the work: minutes of it are not to be lost because the file cannot be made.
    let file = arguments.json.as_deref().map(create).transpose().map_err(Failure::Run)?;
    let mut reports = Vec::new();
    for adapter in &adapters {
        let info = adapter.info();
        for precision in &info.precisions {
            print(&format!("{}/{} ({}), {precision}\n", info.backend, info.name, info.driver))?;
            reports.push(test(app, adapter.as_ref(), *precision)?);
        }
    }
    if let (Some(mut file), Some(path)) = (file, &arguments.json) {
        write(&mut file, &reports).with_context(|| could_not_write(path)).map_err(Failure::Run)?;
    }
    match reports.iter().filter(|report| !report.passed).count() {
        0 => Ok(()),
        failed => Err(Failure::Run(anyhow!(
            "{failed} of {} adapters and precisions compute wrongly: update the driver, or take \
             another",
            reports.len()
        ))),
    }
}

fn create(path: &Path) -> Result<File> {
    // A report that is already there is somebody's: it is not overwritten.
    File::create_new(path).with_context(|| could_not_write(path))
}

fn write(file: &mut File, reports: &[Report]) -> Result<()> {
    let text = serde_json::to_string_pretty(reports)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

fn could_not_write(path: &Path) -> String {
    format!("could not write {}", path.display())
}

fn test(app: &App, adapter: &dyn Adapter, precision: Precision) -> Result<Report, Failure> {
    let start = Instant::now();
    let precise = Precise::new(adapter, precision).map_err(Failure::Run)?;
    let mut kernels = Vec::new();
    let mut errors = Vec::new();
    for kernel in app.kernels {
        let outcomes = match verify::kernel(adapter, kernel, precision) {
            Ok(outcomes) => outcomes,
            Err(error) => {
                errors.push(format!("{}: {error:#}", kernel.name));
                print(&did_not_run(kernel.name, &error))?;
                continue;
            }
        };
        let share = |o: &verify::Outcome| o.worst_error / o.bound.max(f64::MIN_POSITIVE);
        let runs = outcomes.len();
        let worst = outcomes.iter().max_by(|a, b| share(a).total_cmp(&share(b))).cloned();
        let failed: Vec<_> = outcomes.into_iter().filter(|outcome| !outcome.passed).collect();
        let report = KernelReport { kernel: kernel.name, runs, worst, failed };
        print(&describe(&report))?;
        kernels.push(report);
    }
    let mut measure = |what: &str, measured: Result<f64>, bound| match measured {
        Ok(error) => print(&verdict(what, error, bound)).map(|()| Some(error)),
        Err(error) => {
            errors.push(format!("{what}: {error:#}"));
            print(&did_not_run(what, &error)).map(|()| None)
        }
    };
    let slope_error = match precision {
        Precision::F32 => {
            let error = (app.golden.slope_error)(&precise);
            measure("gradient against measured slope", error, SLOPE_BOUND)?
        }
        Precision::F16 | Precision::Bf16 => None,
    };
    let mut curve = Vec::new();
    let curve_bound = app.golden.bound.max(CURVE_ROUNDINGS * precision.roundoff());
    let strays = (app.golden.curve)(&precise).map(|losses| {
        curve = losses;
        (app.golden.worst)(&curve)
    });
    let curve_error = measure("20 steps against the recorded curve", strays, curve_bound)?;
    let passed = kernels.iter().all(|report| report.failed.is_empty())
        && errors.is_empty()
        && (precision != Precision::F32 || slope_error.is_some_and(|error| error < SLOPE_BOUND))
        && curve_error.is_some_and(|error| error < curve_bound);
    let seconds = start.elapsed().as_secs_f64();
    let word = if passed { "passed" } else { "FAILED" };
    print(&format!("  {word} in {seconds:.0} s\n"))?;
    Ok(Report {
        gradflow: env!("CARGO_PKG_VERSION"),
        adapter: adapter.info().clone(),
        precision,
        kernels,
        slope_error,
        curve_error,
        curve_bound,
        curve,
        errors,
        seconds,
        passed,
    })
}

/// How far a gradient may miss the slope that f32 losses can resolve.
const SLOPE_BOUND: f64 = 0.01;

/// How many times a number's rounding error the loss may stray in 16 bits: 20 steps build on each
/// other.
const CURVE_ROUNDINGS: f64 = 8.0;

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

fn did_not_run(what: &str, error: &Error) -> String {
    format!("  FAIL {what:<46} did not run\n       {error:#}\n")
}

fn verdict(what: &str, error: f64, bound: f64) -> String {
    let word = if error <= bound { "ok  " } else { "FAIL" };
    format!("  {word} {what:<46} error {error:.1e} of {bound:.1e} allowed\n")
}
