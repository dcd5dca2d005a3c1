//! The only adapter is lost: the run goes on after its last checkpoint, and ends with the same
//! bits. The loss is put around the stage that trains; the command knows no more of it.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::ffi::OsString;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Error, Result, bail};
use cli::App;
use compute::job::Job;
use compute::towers::{Lost, NoneLeft};
use flow::channel::Ports;
use flow::item::Limit;
use flow::port::Port;
use flow::stage::{Config, Context, Kind, Mismatch, RunSettings, Runner, Stage};

use runs::{PIPELINE, Place, STEPS, assert_end_alike};

/// When the adapter is lost: so many times, each after so many steps more, up to the last one that
/// it ever does.
#[derive(Clone, Debug)]
struct Losses {
    left: Arc<AtomicU64>,
    steps: u64,
    last: u64,
}

/// A stage that trains on an adapter that is lost.
#[derive(Debug)]
struct Losing {
    inner: Box<dyn Config>,
    losses: Losses,
}

impl Config for Losing {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        self.inner.check(inputs)
    }

    fn adjustable(&self) -> &'static [&'static str] {
        self.inner.adjustable()
    }

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        let take = |left: u64| left.checked_sub(1);
        if self.losses.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return self.inner.build(context);
        }
        let before = context.run.resume.as_ref().map_or(0, |r| r.weights.progress.steps);
        let step = (before + self.losses.steps).min(self.losses.last);
        let settings =
            RunSettings { limit: Limit { steps: Some(step), epochs: None }, ..context.run.clone() };
        let (events, stop) = (context.events.clone(), context.stop.clone());
        let Runner::Stage(inner) =
            self.inner.build(&Context { run: &settings, events, stop, ..*context })?
        else {
            bail!("a stage of its own trains");
        };
        Ok(Runner::Stage(Box::new(Lasting { inner, step })))
    }
}

/// It does all steps up to this one.
struct Lasting {
    inner: Box<dyn Stage>,
    step: u64,
}

impl Stage for Lasting {
    fn run<'a>(
        &'a mut self,
        ports: &'a mut Ports,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async move {
            self.inner.run(ports).await?;
            let (who, cause) = ("vulkan/test".to_owned(), "the device was lost".to_owned());
            Err(Error::new(NoneLeft(Lost { who, step: self.step, cause })))
        })
    }
}

/// `runtime run net.yaml` with an adapter that is lost; gives its exit status.
fn run(place: &Place, name: &str, times: u64, steps: u64, last: u64) -> String {
    run_with(place, &["--run", name], times, steps, last)
}

fn run_with(place: &Place, words: &[&str], times: u64, steps: u64, last: u64) -> String {
    let losses = Losses { left: Arc::new(AtomicU64::new(times)), steps, last };
    let losing = |mut kind: Kind| {
        if kind.name == "reducer" {
            let (parse, losses) = (kind.parse, losses.clone());
            kind.parse = Arc::new(move |node, path, problems| {
                let parsed = parse(node, path, problems)?;
                let losses = losses.clone();
                Some(parsed.map(|inner| Box::new(Losing { inner, losses }) as Box<dyn Config>))
            });
        }
        kind
    };
    let kinds = stages::kinds(&stages::Catalog::default()).into_iter().map(losing).collect();
    let golden = stages::golden::GOLDEN;
    let (kernels, probes) = (shaders::ALL, shaders::PROBES);
    let app =
        App { kinds, kernels, golden, probes, join: || Ok(Job::default()), sinks: Vec::new() };
    let folder = place.path();
    let mut line: Vec<OsString> = vec![
        "runtime".into(),
        "run".into(),
        folder.join("net.yaml").into(),
        "--runs".into(),
        folder.join("runs").into(),
    ];
    line.extend(words.iter().map(OsString::from));
    format!("{:?}", cli::run_line(&app, line))
}

fn status(code: u8) -> String {
    format!("{:?}", std::process::ExitCode::from(code))
}

#[test]
fn a_lost_adapter_is_created_anew_and_ends_with_the_same_bits() {
    let place = Place::new(PIPELINE);
    let alone = place.train("alone", &[]);
    assert_eq!(run(&place, "once", 1, 9, STEPS), status(0));
    assert_end_alike(&alone, &place.run("once"), Some(9));
    let log = place.run("once").text("log.txt");
    assert!(log.contains("warning: vulkan/test failed in step 9: the device was lost"), "{log}");
    assert!(log.contains("after step 9\n"), "{log}");
    // Again and again, as long as steps are done in between.
    assert_eq!(run(&place, "thrice", 3, 7, STEPS), status(0));
    let (alone, thrice) = (alone.stored(24), place.run("thrice").stored(24));
    runs::assert_same_bits(&alone, &thrice, "three times");
}

#[test]
fn a_loss_ends_no_later_seed() {
    let place = Place::new(PIPELINE);
    assert_eq!(run_with(&place, &["--seeds", "2"], 1, 9, STEPS), status(0));
    for name in ["net-001", "net-002"] {
        assert_eq!(place.run(name).about()["ended"]["how"], "done", "{name}");
        assert_eq!(place.run(name).checkpoints().last(), Some(&STEPS), "{name}");
    }
    let log = |name: &str| place.run(name).text("log.txt").contains("the device was lost");
    assert_eq!([log("net-001"), log("net-002")], [true, false]);
}

#[test]
fn an_adapter_that_does_no_step_any_more_ends_the_run() {
    let place = Place::new(PIPELINE);
    assert_eq!(run(&place, "never", u64::MAX, 5, 5), status(1));
    let ended = &place.run("never").about()["ended"]["how"];
    assert!(ended.as_str().is_some_and(|how| how.contains("the device was lost")), "{ended}");
}
