//! Images a second of each stage before the model, by itself and all together:
//! `cargo bench --bench input -- [IMAGES] [ROUNDS]`.
//!
//! Each stage is fed with what the stages before it made beforehand, and what it puts out is dropped.
//! All are measured in turn, round after round, and the fastest round counts: other programs at
//! work only take time. With CIFAR-10 where GRADFLOW_DATA says, else on the drawn stand-in.

use anyhow::{Context as _, Result, bail};
use base::stop::Stop;
use flow::item::Item;
use flow::plan::Plan;

const FILE: &str = "benches/peers/tutorial.yaml";
const TEXT: &str = include_str!("peers/tutorial.yaml");

/// The stages from the data to the batches, and where each says how many threads it has.
const STAGES: [(&str, Option<&str>); 6] = [
    ("read", None),
    ("shuffle", None),
    ("crop", Some("stages.crop.cropper.workers")),
    ("distort", Some("stages.distort.distorter.workers")),
    ("whiten", Some("stages.whiten.whitening.workers")),
    ("batch", None),
];

/// What the last of them is measured under when all are at work.
const TOGETHER: &str = "together";

/// Threads of each stage that can have several.
const WORKERS: [usize; 2] = [1, 2];

/// Images that each is measured on at least.
const IMAGES: usize = 40_000;

fn main() -> Result<()> {
    // Cargo adds options of its own.
    let numbers: Vec<usize> =
        std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let least = numbers.first().copied().unwrap_or(IMAGES).max(1);
    let rounds = numbers.get(1).copied().unwrap_or(5).max(1);
    let (description, epoch) = data()?;
    // Whole epochs: a shuffler puts out nothing before it has one.
    let images = least.div_ceil(epoch) * epoch;
    println!("{description}; {images} images, the fastest of {rounds} rounds, images/s\n");
    let mut best = [[0.0_f64; WORKERS.len()]; STAGES.len() + 1];
    for _ in 0..rounds {
        for (at, best) in best.iter_mut().enumerate() {
            for (workers, best) in WORKERS.into_iter().zip(best) {
                let alone = STAGES.get(at).is_some_and(|(_, setting)| setting.is_none());
                if alone && workers > 1 {
                    continue;
                }
                *best = best.max(rate(at, workers, images)?);
            }
        }
    }
    let [one, two] = WORKERS;
    println!("| stage | {one} worker | {two} workers |\n|---|--:|--:|");
    let names = STAGES.iter().map(|(name, _)| *name).chain([TOGETHER]);
    for (name, rates) in names.zip(best) {
        let cells =
            rates.map(|rate| if rate > 0.0 { format!("{rate:.0}") } else { "-".to_owned() });
        println!("| {name} | {} |", cells.join(" | "));
    }
    Ok(())
}

/// Images a second of one stage, or of all after the last of them.
fn rate(at: usize, workers: usize, images: usize) -> Result<f64> {
    let last = STAGES.len() - 1;
    let (stage, _) = STAGES[at.min(last)];
    let mut plan = plan(workers)?;
    if (1..=last).contains(&at) {
        let (before, _) = STAGES[at - 1];
        let (making, made) = self::plan(workers)?.collecting(before, images)?;
        flow::run::run(&making, Stop::default(), |_| {})?;
        // The other end of what was made, without which it has no end.
        drop(making);
        plan.give(before, made)?;
    }
    Ok(bench::alone(plan, stage, images)?.images_per_s)
}

fn plan(workers: usize) -> Result<Plan> {
    let settings = STAGES.iter().filter_map(|(_, setting)| *setting);
    let set: Vec<_> = settings.map(|path| (path.to_owned(), workers.to_string())).collect();
    let base = flow::environment::settings(None);
    let kinds = stages::kinds(&stages::Catalog::default());
    match Plan::load(&kinds, FILE, TEXT, &set, &base) {
        Ok((plan, _)) => Ok(plan),
        Err(problems) => bail!(config::diagnostic::render(&problems, false)),
    }
}

/// What the images are, and how many there are in an epoch.
fn data() -> Result<(String, usize)> {
    let (plan, read) = plan(1)?.collecting(STAGES[0].0, 1)?;
    flow::run::run(&plan, Stop::default(), |_| {})?;
    match read.try_recv().context("the reader gave nothing")? {
        Item::Block(block) => {
            Ok((block.source.description.clone(), block.source.epoch_images as usize))
        }
        _ => bail!("a reader gives images"),
    }
}
