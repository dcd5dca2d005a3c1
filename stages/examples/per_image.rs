//! Measures the per-image stages alone: crop, flip, brightness, contrast, whitening, batching.
//!
//! `cargo run --release -p gradflow-stages --example per_image -- [threads] [images]`

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use runtime::channel::{Counters, Ports, Stop, edge};
use runtime::event::Events;
use runtime::item::{Block, Item, Position, Source};
use runtime::port::{ImageType, PixelType, Port};
use runtime::random::Random;
use runtime::stage::{Config, Context, Map, RunSettings, Runner, Stage};
use stages::batcher::Batcher;
use stages::cropper::Cropper;
use stages::data::synthetic::Synthetic;
use stages::data::{DataSet, Split};
use stages::distorter::Distorter;
use stages::whitening::Whitening;

const BLOCK: usize = 128;

/// The stages that change one image each with their ids, and the batcher.
type Stages = (Vec<(String, Arc<dyn Map>)>, Box<dyn Stage>);

fn build() -> Result<Stages> {
    let pixel = PixelType::U8;
    let image = ImageType { pixel, shape: [32, 32, 3], classes: 10, whole_epochs: true, views: 1 };
    let mut port = Port::Samples(image);
    let configs: [(&str, Box<dyn Config>); 4] = [
        ("cropper", Box::new(Cropper::default())),
        ("distorter", Box::new(Distorter::default())),
        ("whitening", Box::new(Whitening::default())),
        ("batcher", Box::new(Batcher::default())),
    ];
    let run = RunSettings { block_images: BLOCK, ..RunSettings::default() };
    let (events, _) = Events::new();
    let mut maps = Vec::new();
    for (stage, config) in configs {
        let inputs = [port];
        let Ok(Some(output)) = config.check(&inputs) else { bail!("{stage} refuses its input") };
        let start = Position::default();
        let context = Context {
            stage,
            inputs: &inputs,
            start,
            run: &run,
            events: events.clone(),
            stop: Stop::default(),
        };
        match config.build(&context)? {
            Runner::Map { map, .. } => maps.push((stage.to_owned(), map)),
            Runner::Stage(batcher) => return Ok((maps, batcher)),
        }
        port = output;
    }
    bail!("there is no batcher")
}

/// Takes this many images through all stages.
fn work(data: &DataSet, images: usize) -> Result<()> {
    let (maps, mut batcher) = build()?;
    let source = Arc::new(Source {
        description: String::new(),
        epoch_images: data.labels.len() as u64,
        split: String::new(),
        classes: Vec::new(),
        stands_in_for: None,
        limit: None,
    });
    let counters = Arc::<Counters>::default();
    for first in (0..images).step_by(BLOCK) {
        let mut samples: Vec<_> =
            (first..first + BLOCK).map(|at| data.sample(0, at % data.labels.len())).collect();
        for (stage, map) in &maps {
            for sample in &mut samples {
                let mut random = Random::keyed(1, stage, sample.id.epoch, sample.id.index);
                map.map(sample, &mut random)?;
            }
        }
        let (sends, mut receives) = edge(1, 1, 1);
        let (out, mut batches) = edge(1, 1, 1);
        let mut feed = Ports::new(Vec::new(), sends, counters.clone(), Stop::default());
        let block = Block { source: source.clone(), samples, ends_epoch: false };
        if pollster::block_on(feed.send(Item::Block(block))).is_err() {
            bail!("the edge is closed");
        }
        drop(feed);
        let mut ports =
            Ports::new(vec![receives.remove(0)], out, counters.clone(), Stop::default());
        pollster::block_on(batcher.run(&mut ports))?;
        drop(ports);
        batches.remove(0).drain().pop().context("a batch was expected")?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    let threads = numbers.first().copied().unwrap_or(2);
    let images = numbers.get(1).copied().unwrap_or(200_000);
    let data = Synthetic::default().draw(Split::Train)?;
    let start = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&data, images))).collect();
        threads.into_iter().try_for_each(|t| t.join().unwrap_or_else(|_| bail!("a panic")))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let rate = (threads * images) as f64 / seconds;
    println!(
        "{threads} threads: {rate:.0} images/s, {:.2} us per image and thread",
        seconds * 1e6 / images as f64
    );
    Ok(())
}
