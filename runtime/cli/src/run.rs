//! `runtime run`: trains, or goes on training.

use std::path::Path;

use super::App;
use super::execute::execute;
use super::handover;
use super::interrupt::{asked, hush, listen};
use super::output::{self, Failure, complain};
use super::pipeline;
use super::recover::execute_again;
use super::resume::{self, Continuation};
use super::run_arguments::{Arguments, needs_an_end, stay_offline};
use super::together::{agree, fingerprint};
use base::stop::Stop;
use compute::job::Job;
use compute::settings::ComputeSettings;
use flow::plan::Plan;
use flow::reports::{DataReport, EvaluationReport};
use flow::stage::RunSettings;
use record::compare::Spread;
use record::provenance;
use record::recorder::{Last, PROGRAM, Place, Recorder, prepare};
use record::run_folder::{self, About, Taken};

pub(super) fn run(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let job = (app.join)().map_err(Failure::Run)?;
    if !job.is_first() {
        hush();
    }
    let ran = match arguments.resume {
        Some(_) => go_on(app, arguments, &job),
        None => begin(app, arguments, &job),
    };
    job.finish();
    ran
}

/// Goes on with a run. The first process of a job has it, and sends the others what they need.
fn go_on(app: &App, arguments: &Arguments, job: &Job) -> Result<(), Failure> {
    let stop = &Stop::default();
    let nothing = || Vec::new();
    let prepared = if job.is_first() {
        let prepared = agree(job, resume::prepare(app, arguments), |_| nothing())?;
        let sent = match job.is_shared() {
            true => handover::send(job, &prepared.run, &prepared.checkpoints),
            false => Ok(()),
        };
        sent.map(|()| prepared).map_err(Failure::Run)
    } else {
        agree(job, Ok(()), |()| nothing())?;
        handover::receive(job).map_err(Failure::Run).and_then(|folder| {
            let resume = Some(folder.path().to_string_lossy().into_owned());
            resume::prepare(app, &Arguments { resume, ..arguments.clone() })
        })
    };
    let prepared =
        prepared.and_then(|prepared| listen(stop).map(|()| prepared).map_err(Failure::Run));
    let Continuation { mut plan, recorder, lines, .. } =
        agree(job, prepared, |prepared| fingerprint(&prepared.plan))?;
    stay_offline(&mut plan, arguments);
    let recorder = Some(recorder).filter(|_| job.is_first());
    execute_in(job, app, arguments, plan, recorder, &lines, stop).map(drop)
}

/// Begins a run, or as many as there are seeds.
fn begin(app: &App, arguments: &Arguments, job: &Job) -> Result<(), Failure> {
    let Some(file) = &arguments.file else { return Ok(()) };
    let source = pipeline::Arguments { file: file.clone(), set: arguments.set.clone() };
    let load = |set: &[(String, String)], tells: bool| {
        let source = pipeline::Arguments { set: set.to_vec(), ..source.clone() };
        let base = RunSettings {
            compute: ComputeSettings {
                adapter: arguments.adapter.clone(),
                adapters: arguments.adapters_asked(),
                adapter_alone: arguments.adapter.is_some(),
                strict: arguments.strict,
                ..ComputeSettings::default()
            },
            folder: source.folder(),
            ..flow::environment::settings(arguments.data.clone())
        };
        let (plan, warnings) = source.check(app, &base)?;
        if job.is_first() && tells {
            output::tell(&warnings);
        }
        Ok(plan)
    };
    let prepare = || {
        let plan = load(&arguments.set, true)?;
        needs_an_end(&plan, &file.display().to_string())?;
        let text = source.text()?;
        Ok((plan, text))
    };
    let (plan, text) = agree(job, prepare(), |(plan, _)| fingerprint(plan))?;
    let of = Of { app, arguments, file, text: &text, job };
    let Some(seeds) = arguments.seeds else {
        return train(&of, Ok(plan)).map(drop);
    };
    let first = plan.settings.seed;
    let mut reached = Vec::new();
    let mut data: Vec<(String, Vec<DataReport>)> = Vec::new();
    let mut one = |seed: u64| {
        let mut set = arguments.set.clone();
        set.push(("seed".to_owned(), seed.to_string()));
        // What there is to tell of the pipeline has been told.
        let last = train(&of, load(&set, false))?;
        reached.push(last.evaluations);
        data.push((format!("seed {seed}"), last.data));
        Ok(())
    };
    let ended = (0..seeds).try_for_each(|number| one(first.wrapping_add(number)));
    // What one seed came to is of use, whatever became of the next.
    let told = match ended {
        Err(_) if reached.iter().all(Vec::is_empty) => Ok(()),
        _ if !job.is_first() => Ok(()),
        _ => {
            let beside = provenance::beside(data.iter().map(|(seed, data)| (&**seed, &**data)));
            beside.iter().for_each(|told| complain(&format!("warning: {told}\n")));
            let evaluators: Vec<&str> = plan.evaluators().collect();
            output::print(&spread_of(&reached, seeds, &evaluators))
        }
    };
    ended.and(told)
}

/// Mean and spread of what several runs came to, of as many as were asked for: a line for each stage
/// that evaluates, named where there are several.
fn spread_of(runs: &[Vec<EvaluationReport>], asked: u64, evaluators: &[&str]) -> String {
    let line = |stage: &&str| {
        let own: Vec<&EvaluationReport> =
            runs.iter().flatten().filter(|report| report.stage == **stage).collect();
        let precisions: Vec<f64> = own.iter().map(|report| report.precision_at_1).collect();
        let spread = Spread::of(&precisions)?;
        let count = precisions.len();
        let seeds =
            if count as u64 == asked { asked.to_string() } else { format!("{count} of {asked}") };
        let stand_in = own.iter().find_map(|report| report.stands_in_for.as_deref());
        let stand_in = stand_in
            .map_or(String::new(), |real| format!("; on drawn stand-in images, NOT {real}"));
        let stage = if evaluators.len() > 1 { format!("{stage}: ") } else { String::new() };
        Some(format!("{seeds} seeds: {stage}{spread}{stand_in}\n"))
    };
    let lines: String = evaluators.iter().filter_map(line).collect();
    if lines.is_empty() { "no run was evaluated\n".to_owned() } else { lines }
}

/// What a run is made of.
struct Of<'a> {
    app: &'a App,
    arguments: &'a Arguments,
    file: &'a Path,
    text: &'a str,
    job: &'a Job,
}

/// Runs a plan of this; another one for each seed.
fn train(of: &Of<'_>, plan: Result<Plan, Failure>) -> Result<Last, Failure> {
    let Of { app, arguments, job, .. } = *of;
    // One of its own: an earlier run may have been stopped for good.
    let stop = &Stop::default();
    let prepared = plan.and_then(|plan| {
        listen(stop).map_err(Failure::Run)?;
        if asked() {
            return Err(Failure::Interrupted);
        }
        let recorder = if job.is_first() { recorder(of, &plan)? } else { None };
        Ok((plan, recorder))
    });
    let (mut plan, recorder) = agree(job, prepared, |(plan, _)| fingerprint(plan))?;
    prepare(&mut plan);
    stay_offline(&mut plan, arguments);
    execute_in(job, app, arguments, plan, recorder, &[], stop)
}

/// Runs a plan to its end, in all processes of a job.
fn execute_in(
    job: &Job,
    app: &App,
    arguments: &Arguments,
    mut plan: Plan,
    recorder: Option<Recorder>,
    before: &[String],
    stop: &Stop,
) -> Result<Last, Failure> {
    if !job.is_shared() {
        return execute_again(app, arguments, plan, recorder, before, stop);
    }
    job.begin(plan.stages.iter().map(|stage| stage.id.as_str()));
    plan.settings.compute.job = job.clone();
    let ended = execute(app, plan, recorder, before, stop);
    job.leave();
    agree(job, ended, |_| Vec::new())
}

/// What keeps a run of this, if it trains.
fn recorder(of: &Of<'_>, plan: &Plan) -> Result<Option<Recorder>, Failure> {
    let Of { arguments, file, text, .. } = *of;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let base = arguments.runs.clone();
    let place = match &arguments.run {
        Some(name) => Place::Named { base, name: folder_name(name)? },
        None => {
            let name = plan.settings.record.name.clone().unwrap_or(stem);
            Place::Numbered { base, name: folder_name(&name)? }
        }
    };
    if let Place::Named { base, name } = &place {
        let path = base.join(name);
        if run_folder::is_taken(&path) {
            return Err(Failure::taken(&Taken { path }));
        }
    }
    let about = About {
        program: PROGRAM.to_owned(),
        command: arguments.line.clone(),
        started: run_folder::now(),
        seed: plan.settings.seed,
        pipeline: file.display().to_string(),
        // `.` stands for the current folder, of which an empty path says nothing.
        folder: std::path::absolute(Path::new(".").join(&plan.settings.folder)).unwrap_or_default(),
        data_path: arguments.data.as_ref().and_then(|data| std::path::absolute(data).ok()),
        adapter_asked: arguments.adapter.clone(),
        adapters_asked: arguments.adapters_asked(),
        adapter: None,
        towers: Vec::new(),
        data: Vec::new(),
        resumed: Vec::new(),
        ended: None,
    };
    match plan.trainer() {
        Some(_) => Recorder::new(plan, text, place, about).map(Some).map_err(Failure::Run),
        None => Ok(None),
    }
}

/// A name that makes a single folder.
fn folder_name(name: &str) -> Result<String, Failure> {
    run_folder::folder_name(name).map_err(|error| Failure::Usage {
        message: format!("{error:#}"),
        help: Some("use a name without slashes; `--runs DIR` says where runs are kept".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(stage: &str, precision_at_1: f64) -> EvaluationReport {
        let stage = stage.to_owned();
        EvaluationReport { stage, precision_at_1, ..EvaluationReport::default() }
    }

    #[test]
    fn several_seeds_are_summed_up() {
        let spread = |precisions: &[f64], asked| {
            let runs: Vec<_> = precisions.iter().map(|p| vec![reached("a", *p)]).collect();
            spread_of(&runs, asked, &["a"])
        };
        let text = spread(&[0.80, 0.82, 0.87], 3);
        assert!(text.starts_with("3 seeds: precision @ 1 = 0.8300 on average"), "{text}");
        assert!(text.contains("deviation 0.0361, median 0.8200, 0.8000 to 0.8700"), "{text}");
        assert!(spread(&[0.5], 1).contains("deviation 0.0000, median 0.5000"));
        let some = spread(&[0.5, 0.7], 3);
        assert!(some.starts_with("2 of 3 seeds: precision @ 1 = 0.6000 on average"), "{some}");
        assert_eq!(spread(&[], 3), "no run was evaluated\n");
    }

    #[test]
    fn each_stage_that_evaluates_has_a_mean_of_its_own() {
        let runs = [
            vec![reached("a", 0.5), reached("b", 0.1)],
            vec![reached("a", 0.7), reached("b", 0.3)],
            vec![reached("b", 0.2)],
        ];
        let text = spread_of(&runs, 3, &["b", "a"]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("3 seeds: b: precision @ 1 = 0.2000 on average"), "{text}");
        assert!(lines[1].starts_with("2 of 3 seeds: a: precision @ 1 = 0.6000 on"), "{text}");
    }

    #[test]
    fn names_of_runs_are_single_folders() {
        assert!(folder_name("net-2 b").is_ok());
        for name in ["", ".", "..", "a/b", "a\\b"] {
            assert!(folder_name(name).is_err(), "{name}");
        }
    }
}
