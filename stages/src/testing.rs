//! What the unit tests of several stages need.

use std::any::Any;
use std::sync::Arc;

use base::random::Random;
use base::stop::Stop;
use bytes::Bytes;
use config::decode::{Problem, Problems};
use config::node::{Node, Path};
use config::yaml::Document;
use flow::channel::{Ports, edge};
use flow::event::{Event, Events};
use flow::item::{Block, Image, Item, Label, Pixels, Position, Sample, SampleId, Source};
use flow::port::{ImageType, PixelType, Port};
use flow::stage::{Chosen, Config, Context, Kind, RunSettings, Runner, Stage, Variant};
use futures::join;

use crate::schedule::{self, Schedule};

/// Reads a YAML text in which nothing is wrong.
pub(crate) fn read<T>(
    reader: impl FnOnce(&Node, &Path, &mut Problems) -> Option<T>,
    text: &str,
) -> T {
    let (read, problems) = parse(reader, text);
    assert_eq!(problems, [], "{text}");
    read.expect("what has no problem is read")
}

/// What is told of a YAML text in which something is wrong.
pub(crate) fn refused<T>(
    reader: impl FnOnce(&Node, &Path, &mut Problems) -> Option<T>,
    text: &str,
) -> String {
    let (read, problems) = parse(reader, text);
    assert!(read.is_none(), "{text}");
    let told = |problem: Problem| [problem.message, problem.help.unwrap_or_default()].join("; ");
    problems.into_iter().map(told).collect::<Vec<_>>().join("\n")
}

fn parse<T>(
    reader: impl FnOnce(&Node, &Path, &mut Problems) -> Option<T>,
    text: &str,
) -> (Option<T>, Problems) {
    // Below a key, as a file that holds nothing is no document.
    let document = Document::parse(&format!("key: {text}")).expect("YAML");
    let mut problems = Problems::new();
    let node = document.node().get("key").expect("there");
    (reader(node, &Path::default(), &mut problems), problems)
}

/// A stage of this kind as YAML gives it.
pub(crate) fn config<C: Config>(kind: &Kind, text: &str) -> C {
    let parsed = read(|node, path, problems| (kind.parse)(node, path, problems), text);
    let config: Box<dyn Any> = parsed.value;
    *config.downcast().expect("a stage of this kind")
}

/// One of a family as YAML chooses it.
pub(crate) fn choose<F: ?Sized + 'static>(family: &[Variant<F>], text: &str) -> Chosen<F> {
    read(|node, path, problems| Variant::choose(family, "member", node, path, problems), text)
}

/// A schedule as YAML gives it.
pub(crate) fn schedule(text: &str) -> Schedule {
    read(|node, path, problems| Schedule::read(&schedule::all(), node, path, problems), text)
}

/// Settings with blocks of this many images.
pub(crate) fn settings(block_images: usize) -> RunSettings {
    RunSettings { seed: 7, block_images, channel_blocks: 2, ..RunSettings::default() }
}

/// A port of byte images.
pub(crate) fn bytes_port(shape: [usize; 3]) -> Port {
    Port::Samples(ImageType {
        pixel: PixelType::U8,
        shape,
        classes: 10,
        whole_epochs: true,
        views: 1,
    })
}

/// A source of this many images.
pub(crate) fn source(epoch_images: u64) -> Arc<Source> {
    Arc::new(Source {
        description: String::new(),
        epoch_images,
        split: String::new(),
        classes: (0..10).map(|class| class.to_string()).collect(),
        stands_in_for: None,
        limit: None,
        in_a_row: None,
    })
}

/// A byte image with these values, its label taken from its number.
pub(crate) fn sample(epoch: u64, index: u64, shape: [usize; 3], pixels: Vec<u8>) -> Sample {
    assert_eq!(pixels.len(), shape.iter().product::<usize>());
    Sample {
        id: SampleId { epoch, index },
        label: Label::Class((index % 10) as u32),
        image: Image { shape, pixels: Pixels::U8(Bytes::from(pixels)) },
    }
}

/// A byte image of noise.
pub(crate) fn noise(index: u64, shape: [usize; 3]) -> Sample {
    let mut random = Random::keyed(3, "noise", 0, index);
    let pixels = (0..shape.iter().product()).map(|_| random.bits() as u8).collect();
    sample(0, index, shape, pixels)
}

/// `epochs` passes over `images` images of one pixel, in blocks of `block`.
pub(crate) fn epochs(epochs: u64, images: u64, block: usize) -> Vec<Item> {
    let source = source(images);
    let mut items = Vec::new();
    for epoch in 0..epochs {
        let samples: Vec<Sample> =
            (0..images).map(|index| sample(epoch, index, [1, 1, 1], vec![index as u8])).collect();
        let blocks = samples.chunks(block).count();
        items.extend(samples.chunks(block).enumerate().map(|(at, samples)| {
            Item::Block(Block {
                source: source.clone(),
                samples: samples.to_vec(),
                ends_epoch: at + 1 == blocks,
            })
        }));
    }
    items
}

/// Builds a stage, feeds it these items and gives what it puts out and what it says.
pub(crate) fn run(
    config: &dyn Config,
    port: Port,
    items: Vec<Item>,
    settings: &RunSettings,
) -> (Vec<Item>, Vec<Event>) {
    let (ran, out, said) = try_run(config, port, items, settings);
    ran.expect("the stage runs to its end");
    (out, said)
}

/// Like [`run`], for a stage that may fail.
pub(crate) fn try_run(
    config: &dyn Config,
    port: Port,
    items: Vec<Item>,
    settings: &RunSettings,
) -> (anyhow::Result<()>, Vec<Item>, Vec<Event>) {
    let (events, said) = Events::new();
    let inputs = [port];
    config.check(&inputs).expect("the config is right");
    let start = Position::default();
    let context = Context {
        stage: "stage",
        inputs: &inputs,
        sources: &[],
        start,
        run: settings,
        events,
        stop: Stop::default(),
    };
    let Runner::Stage(mut stage) = config.build(&context).expect("the stage can be built") else {
        panic!("not a stage with a loop of its own");
    };
    let (ran, out) = run_fed(&mut *stage, items);
    (ran, out, std::iter::from_fn(|| said.try_recv().ok()).map(|said| said.event).collect())
}

/// Runs a stage that gets these items, and gives what it puts out.
fn run_fed(stage: &mut dyn Stage, items: Vec<Item>) -> (anyhow::Result<()>, Vec<Item>) {
    let ends = || edge(1, 1, 1);
    let ports = |receives, sends| Ports::new(receives, sends, Arc::default(), Stop::default());
    let ((feed, fed), (send, receive)) = (ends(), ends());
    let (mut before, mut after) = (ports(Vec::new(), feed), ports(receive, Vec::new()));
    let mut between = ports(fed, send);
    let feeding = async move {
        for item in items {
            if before.send(item).await.is_err() {
                break;
            }
        }
    };
    let running = async move { stage.run(&mut between).await };
    let collecting = async move {
        let mut out = Vec::new();
        while let Some(item) = after.receive(0).await {
            out.push(item);
        }
        out
    };
    let ((), ran, out) = pollster::block_on(async { join!(feeding, running, collecting) });
    (ran, out)
}

/// Applies a per-image stage to these samples, as the engine does.
pub(crate) fn map(config: &dyn Config, port: Port, samples: &mut [Sample], seed: u64) {
    let (events, _said) = Events::new();
    let run = RunSettings { seed, ..settings(1) };
    let inputs = [port];
    config.check(&inputs).expect("the config is right");
    let start = Position::default();
    let context = Context {
        stage: "stage",
        inputs: &inputs,
        sources: &[],
        start,
        run: &run,
        events,
        stop: Stop::default(),
    };
    let Runner::Map { map, .. } = config.build(&context).expect("the stage can be built") else {
        panic!("not a per-image stage");
    };
    for sample in samples {
        let mut random = Random::keyed(seed, "stage", sample.id.epoch, sample.id.index);
        map.map(sample, &mut random).expect("the image can be changed");
    }
}

/// The values of an image as reals.
pub(crate) fn reals(sample: &Sample) -> Vec<f32> {
    sample.image.clone().as_f32().clone()
}

/// The blocks among these items.
pub(crate) fn blocks(items: &[Item]) -> Vec<&Block> {
    items
        .iter()
        .map(|item| match item {
            Item::Block(block) => block,
            _ => panic!("not a block"),
        })
        .collect()
}
