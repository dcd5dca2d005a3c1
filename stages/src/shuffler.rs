//! Mixes images across an epoch, exactly or as in a queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use base::random::Random;
use flow::channel::{Closed, Ports};
use flow::event::{Event, Events};
use flow::item::{Block, Item, Position, Sample, Source};
use flow::port::{ImageType, Port};
use flow::preprocessing::Preprocessing;
use flow::stage::{Config, Context, Exports, Kind, Mismatch, Offset, Prepares, Runner, Stage};
use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Catalog;
use crate::data::thousands;
use crate::inputs;
use crate::lints::SHORT_QUEUE;

/// The tutorial's queue holds 0.4 of an epoch of 50,000 images.
const MINIMUM: usize = 20_000;
/// And room for three batches of 128 more.
const ROOM: usize = 3 * 128;
/// How often filling is told.
const TELL: Duration = Duration::from_secs(1);

/// Mixes images. What comes out when depends on the seed only, not on timing.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shuffler {
    /// How images are mixed.
    pub mode: Mode,
    /// Mode `queue`: images that the queue holds before the first one leaves; the more, the better
    /// the mixing.
    pub minimum: usize,
    /// Mode `queue`: images that the queue holds at most. If absent, `minimum` + 384, the
    /// tutorial's room for three batches.
    pub capacity: Option<usize>,
    /// Mode `queue`: images in the queue at which the first one leaves. If absent, `minimum`. With
    /// fewer, the first step starts sooner and the first images are less mixed; the queue then
    /// fills up while it runs, two images going in for each that leaves.
    pub start_at: Option<usize>,
}

/// How images are mixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Each epoch is put in a random order of its own: every image comes once per epoch.
    #[default]
    Epoch,
    /// The tutorial's queue: each time, a random one of the images waiting in it leaves. Epochs
    /// blur, so no end of an epoch is marked behind it.
    Queue,
}

impl Default for Shuffler {
    fn default() -> Self {
        Self { mode: Mode::Epoch, minimum: MINIMUM, capacity: None, start_at: None }
    }
}

/// The kind of this stage.
pub fn kind(_: &Catalog) -> Kind {
    let kind = Kind::of::<Shuffler>(
        "shuffler",
        "Mixes images: each epoch exactly, or through a queue as in the tutorial.",
        "{ mode: queue, minimum: 20000 }",
    );
    Kind { lints: vec![&SHORT_QUEUE], ..kind }
}

impl Shuffler {
    fn capacity(&self) -> usize {
        self.capacity.unwrap_or_else(|| self.minimum.saturating_add(ROOM))
    }

    fn start_at(&self) -> usize {
        self.start_at.unwrap_or(self.minimum)
    }
}

impl Config for Shuffler {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let image = inputs::one_samples("shuffler", inputs)?;
        if self.mode == Mode::Queue {
            if self.minimum == 0 {
                return Err(Mismatch::field("minimum", "a queue of 0 images mixes nothing")
                    .help("at least 1; the tutorial has 20000 of 50000 images"));
            }
            let (minimum, capacity) = (self.minimum, self.capacity());
            if capacity < minimum {
                let message = format!("a queue for {capacity} images cannot hold {minimum}");
                return Err(Mismatch::field("capacity", message)
                    .help(format!("at least `minimum`, {minimum}")));
            }
            let start_at = self.start_at();
            if !(1..=capacity).contains(&start_at) {
                let message = format!("a queue for {capacity} images cannot start at {start_at}");
                return Err(Mismatch::field("start_at", message)
                    .help(format!("from 1 to `capacity`, {capacity}")));
            }
        }
        let whole_epochs = image.whole_epochs && self.mode == Mode::Epoch;
        Ok(Some(Port::Samples(ImageType { whole_epochs, ..image })))
    }

    fn start_of_input(&self, output: Position) -> Position {
        // An epoch is mixed whole; what waits in a queue depends on all that came before.
        let samples = match self.mode {
            Mode::Epoch => {
                output.samples - output.samples.checked_rem(output.epoch_images).unwrap_or(0)
            }
            Mode::Queue => 0,
        };
        Position { samples, ..output }
    }

    fn warnings(&self, _: &[Port]) -> Vec<Mismatch> {
        let set = [
            ("minimum", self.minimum != MINIMUM),
            ("capacity", self.capacity.is_some()),
            ("start_at", self.start_at.is_some()),
        ];
        set.into_iter()
            .filter(|(_, set)| *set && self.mode == Mode::Epoch)
            .map(|(field, _)| {
                Mismatch::field(field, "changes nothing in mode `epoch`")
                    .help("remove it, or set `mode: queue`")
            })
            .collect()
    }

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        let source = context.sources.first().cloned().flatten();
        let in_a_row = source.as_ref().and_then(|source| source.in_a_row);
        if let Some(images) = in_a_row.filter(|images| *images > self.capacity() as u64)
            && self.mode == Mode::Queue
        {
            context.remark(
                &SHORT_QUEUE,
                &format!(
                    "images come class by class, up to {} of one in a row, and the queue holds {} at \
                     most: make `minimum` larger than a class, or set `mode: epoch`",
                    thousands(images),
                    thousands(self.capacity() as u64)
                ),
            );
        }
        let common = Common {
            // What comes out is mixed as far as this stage has a say.
            source: source.map(|source| Arc::new(Source { in_a_row: None, ..(*source).clone() })),
            seed: context.run.seed,
            stage: context.stage.to_owned(),
            block_images: context.run.block_images.max(1),
            events: context.events.clone(),
            told: Instant::now(),
            full: false,
            skip: context.start.samples - self.start_of_input(context.start).samples,
        };
        Ok(Runner::Stage(match self.mode {
            Mode::Epoch => Box::new(EpochShuffle { common }),
            Mode::Queue => Box::new(QueueShuffle {
                common,
                capacity: self.capacity(),
                start_at: self.start_at(),
            }),
        }))
    }

    fn as_exports(&self) -> Option<&dyn Exports> {
        Some(self)
    }

    fn as_prepares(&self) -> Option<&dyn Prepares> {
        Some(self)
    }
}

impl Exports for Shuffler {
    /// The images are the same there, whatever their order.
    fn onnx(&self, _: &mut onnx::Builder, images: &onnx::Value) -> Result<onnx::Value> {
        Ok(images.clone())
    }
}

impl Prepares for Shuffler {
    fn preprocessing(&self, _: &[Port]) -> Option<Preprocessing> {
        Some(Preprocessing::default())
    }

    fn offset(&self) -> Offset {
        Offset::Stays
    }
}

/// What both modes need.
struct Common {
    source: Option<Arc<Source>>,
    seed: u64,
    stage: String,
    block_images: usize,
    events: Events,
    told: Instant,
    full: bool,
    // Images that left before the run was resumed.
    skip: u64,
}

impl Common {
    /// Says how full the queue is: now and then, which a fast source never needs, and once full.
    fn tell_filling(&mut self, have: u64, of: u64) {
        if !self.full && (have >= of || self.told.elapsed() >= TELL) {
            self.full = have >= of;
            self.told = Instant::now();
            let stage = self.stage.clone();
            self.events.emit(Event::Filling { stage, have: have.min(of), of });
        }
    }
}

/// Gathers an epoch while the one before leaves in a random order.
struct EpochShuffle {
    common: Common,
}

/// Images of one epoch.
#[derive(Default)]
struct Epoch {
    source: Option<Arc<Source>>,
    samples: Vec<Sample>,
    // Whether the epoch ended, and not only the input.
    ended: bool,
}

impl Epoch {
    fn add(&mut self, block: Block) {
        self.source = Some(block.source);
        self.samples.extend(block.samples);
        self.ended = block.ends_epoch;
    }
}

impl EpochShuffle {
    /// The blocks of a gathered epoch, mixed.
    fn mix(&mut self, epoch: Epoch) -> Vec<Block> {
        let (Some(source), Some(first)) = (epoch.source, epoch.samples.first()) else {
            return Vec::new();
        };
        let Common { seed, stage, block_images, skip, .. } = &mut self.common;
        let mut random = Random::keyed(*seed, stage, first.id.epoch, 0);
        let mut samples = epoch.samples;
        random.shuffle(&mut samples);
        let mut blocks = Vec::with_capacity(samples.len().div_ceil(*block_images));
        let mut rest = samples.into_iter().skip(std::mem::take(skip) as usize).peekable();
        while rest.peek().is_some() {
            let samples = rest.by_ref().take(*block_images).collect();
            let ends_epoch = epoch.ended && rest.peek().is_none();
            blocks.push(Block { source: source.clone(), samples, ends_epoch });
        }
        blocks
    }

    async fn shuffle(&mut self, ports: &mut Ports) -> Result<()> {
        let mut leaving = VecDeque::new();
        let mut next = Epoch::default();
        let mut open = true;
        let mut first = true;
        loop {
            // One block in for each block out keeps both sides busy, and no more than two epochs
            // in memory.
            if open && !next.ended {
                match ports.receive(0).await {
                    Some(item) => next.add(inputs::block(item)?),
                    None => open = false,
                }
                if let (true, Some(source)) = (first, &next.source) {
                    let of = source.epoch_images;
                    self.common.tell_filling(next.samples.len() as u64, of);
                }
            }
            if leaving.is_empty() && (next.ended || !open) {
                first = false;
                leaving.extend(self.mix(std::mem::take(&mut next)));
                if leaving.is_empty() && !open {
                    return Ok(());
                }
            }
            if let Some(block) = leaving.pop_front()
                && ports.send(Item::Block(block)).await.is_err()
            {
                return Ok(());
            }
        }
    }
}

impl Stage for EpochShuffle {
    fn source(&self) -> Option<Arc<Source>> {
        self.common.source.clone()
    }

    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
        self.shuffle(ports).boxed()
    }
}

/// The tutorial's queue.
///
/// How many images have gone in when the n-th leaves is fixed by n alone, so that what leaves does
/// not depend on how fast either side is.
struct QueueShuffle {
    common: Common,
    capacity: usize,
    start_at: usize,
}

/// The images that have come in, one by one.
#[derive(Default)]
struct Incoming {
    source: Option<Arc<Source>>,
    samples: VecDeque<Sample>,
}

impl Incoming {
    async fn next(&mut self, ports: &mut Ports) -> Result<Option<Sample>> {
        loop {
            if let Some(sample) = self.samples.pop_front() {
                return Ok(Some(sample));
            }
            let Some(item) = ports.receive(0).await else { return Ok(None) };
            let block = inputs::block(item)?;
            self.source = Some(block.source);
            self.samples = block.samples.into();
        }
    }
}

impl QueueShuffle {
    async fn shuffle(&mut self, ports: &mut Ports) -> Result<()> {
        let mut incoming = Incoming::default();
        let mut queue = Vec::with_capacity(self.capacity.min(1 << 20));
        while queue.len() < self.start_at {
            let Some(sample) = incoming.next(ports).await? else { break };
            queue.push(sample);
            self.common.tell_filling(queue.len() as u64, self.start_at as u64);
        }
        let mut out = Vec::new();
        let mut position = 0;
        while !queue.is_empty() {
            let mut random = Random::keyed(self.common.seed, &self.common.stage, 0, position);
            position += 1;
            let leaves = queue.swap_remove(random.below(queue.len()));
            if position > self.common.skip {
                out.push(leaves);
            }
            for _ in 0..2 {
                if queue.len() < self.capacity
                    && let Some(sample) = incoming.next(ports).await?
                {
                    queue.push(sample);
                }
            }
            let send = out.len() == self.common.block_images || queue.is_empty();
            if send && Self::send(ports, &incoming, &mut out).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn send(
        ports: &mut Ports,
        incoming: &Incoming,
        out: &mut Vec<Sample>,
    ) -> Result<(), Closed> {
        let Some(source) = incoming.source.clone() else { return Ok(()) };
        let samples = std::mem::take(out);
        ports.send(Item::Block(Block { source, samples, ends_epoch: false })).await
    }
}

impl Stage for QueueShuffle {
    fn source(&self) -> Option<Arc<Source>> {
        self.common.source.clone()
    }

    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
        self.shuffle(ports).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use flow::item::SampleId;
    use flow::stage::RunSettings;

    use super::*;
    use crate::testing::{blocks, bytes_port, epochs, run, settings};

    fn shuffled(config: &Shuffler, items: Vec<Item>, seed: u64) -> (Vec<Item>, Vec<Event>) {
        let settings = RunSettings { seed, ..settings(8) };
        run(config, bytes_port([1, 1, 1]), items, &settings)
    }

    fn ids(items: &[Item]) -> Vec<SampleId> {
        blocks(items).iter().flat_map(|block| block.samples.iter().map(|s| s.id)).collect()
    }

    fn queue(minimum: usize) -> Shuffler {
        Shuffler { mode: Mode::Queue, minimum, capacity: Some(minimum + 20), start_at: None }
    }

    #[test]
    fn each_epoch_is_an_exact_permutation_of_its_own() {
        let (items, _) = shuffled(&Shuffler::default(), epochs(3, 100, 7), 1);
        let ids = ids(&items);
        let orders: Vec<Vec<u64>> =
            ids.chunks(100).map(|epoch| epoch.iter().map(|id| id.index).collect()).collect();
        assert_eq!(orders.len(), 3);
        for (epoch, order) in orders.iter().enumerate() {
            assert!(ids[epoch * 100..][..100].iter().all(|id| id.epoch == epoch as u64));
            assert_eq!(order.iter().collect::<HashSet<_>>().len(), 100);
            assert!(!order.is_sorted());
        }
        assert!(orders[0] != orders[1] && orders[1] != orders[2]);
        let ends: Vec<bool> = blocks(&items).iter().map(|block| block.ends_epoch).collect();
        let epoch = [vec![false; 12], vec![true]].concat();
        assert_eq!(ends, epoch.repeat(3));
    }

    #[test]
    fn the_same_seed_gives_the_same_order_however_the_images_come_in() {
        for config in [Shuffler::default(), queue(40)] {
            let order = |block, seed| ids(&shuffled(&config, epochs(2, 100, block), seed).0);
            assert_eq!(order(7, 1), order(64, 1));
            assert_ne!(order(7, 1), order(7, 2));
        }
    }

    #[test]
    fn an_input_that_ends_within_an_epoch_loses_nothing() {
        let mut items = epochs(1, 100, 10);
        items.truncate(7);
        for config in [Shuffler::default(), queue(40), queue(400)] {
            let (out, _) = shuffled(&config, items.clone(), 1);
            assert_eq!(ids(&out).iter().collect::<HashSet<_>>().len(), 70);
            assert!(blocks(&out).iter().all(|block| !block.ends_epoch));
        }
        assert!(shuffled(&Shuffler::default(), Vec::new(), 1).0.is_empty());
        assert!(shuffled(&queue(40), Vec::new(), 1).0.is_empty());
    }

    #[test]
    fn a_queue_lets_out_only_what_has_gone_in_and_each_image_once() {
        let (items, _) = shuffled(&queue(40), epochs(4, 100, 7), 1);
        let ids = ids(&items);
        assert_eq!(ids.len(), 400);
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 400);
        for (position, id) in ids.iter().enumerate() {
            let came_in = id.epoch * 100 + id.index;
            // 40 before the first leaves, then two for each that leaves up to 60, then one.
            let most = (40 + 2 * position as u64).min(60 + position as u64);
            assert!(came_in < most, "image {came_in} left at {position}");
        }
        // A queue of 60 holds an image for 60 turns on average: epochs blur.
        assert!(ids[..100].iter().any(|id| id.epoch == 1));
    }

    #[test]
    fn a_queue_may_start_before_it_is_full_and_says_how_full_it_is() {
        let early = Shuffler { start_at: Some(10), ..queue(40) };
        let (items, _) = shuffled(&early, epochs(1, 100, 7), 1);
        assert!(ids(&items)[0].index < 10);
        for (config, of) in [(early, 10), (queue(40), 40), (Shuffler::default(), 100)] {
            let (_, events) = shuffled(&config, epochs(2, 100, 7), 1);
            let full = Event::Filling { stage: "stage".to_owned(), have: of, of };
            assert_eq!(events.last(), Some(&full));
        }
    }

    #[test]
    fn sizes_that_contradict_each_other_are_told() {
        let check = |config: &Shuffler| config.check(&[bytes_port([1, 1, 1])]);
        let field = |config: Shuffler| check(&config).expect_err("wrong").field.join(".");
        assert!(check(&Shuffler { mode: Mode::Queue, ..Shuffler::default() }).is_ok());
        assert_eq!(field(queue(0)), "minimum");
        assert_eq!(field(Shuffler { capacity: Some(39), ..queue(40) }), "capacity");
        assert_eq!(field(Shuffler { start_at: Some(61), ..queue(40) }), "start_at");
        let tutorial = Shuffler { mode: Mode::Queue, ..Shuffler::default() };
        assert_eq!((tutorial.capacity(), tutorial.start_at()), (20_384, 20_000));
        let unused = Shuffler { mode: Mode::Epoch, ..queue(40) };
        assert_eq!(unused.warnings(&[]).len(), 2);
        assert!(tutorial.warnings(&[]).is_empty());
    }
}
