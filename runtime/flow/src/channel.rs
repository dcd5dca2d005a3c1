//! The edges of a running pipeline: bounded, ordered channels between any number of workers.
//!
//! Producer `p` of `P` makes items `p, p + P, p + 2P, ...` of a flow, and consumer `c` of `C`
//! takes items `c, c + C, ...`. Each pair that meets has a bounded lane of its own, so the order of a
//! flow is fixed by construction: no sequence numbers, no reordering, no dependence on timing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender, bounded};

use base::stop::Stop;

use crate::dealer::Dealer;
use crate::event::{Event, Events};
use crate::item::{Block, Item, Pixels, Sample};
use crate::reports::Tapped;

/// What a stage has done so far, to be read while it runs.
#[derive(Debug, Default)]
pub struct Counters {
    /// Items taken in.
    pub items_in: AtomicU64,
    /// Items put out.
    pub items_out: AtomicU64,
    /// Nanoseconds at work, summed over workers.
    pub busy_ns: AtomicU64,
    /// Nanoseconds spent waiting for input, summed over workers.
    pub input_wait_ns: AtomicU64,
    /// Nanoseconds spent waiting for room in the output, summed over workers.
    pub output_wait_ns: AtomicU64,
}

impl Counters {
    /// Adds to one of the times.
    pub fn add(counter: &AtomicU64, time: Duration) {
        counter.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }
}

/// What has crossed one edge so far, to be read while it is used.
#[derive(Debug, Default)]
pub struct EdgeCounters {
    /// Items put in.
    pub items_in: AtomicU64,
    /// Items taken out.
    pub items: AtomicU64,
    /// Images in those.
    pub images: AtomicU64,
    /// Items found waiting by each that was put in, summed.
    pub waiting: AtomicU64,
    /// Nanoseconds that its producers waited for room.
    pub full_wait_ns: AtomicU64,
    /// Nanoseconds that its consumers waited for items.
    pub empty_wait_ns: AtomicU64,
}

/// Nobody listens to this output any more: the stage may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// Closes an edge when the run is asked to end; at once if it was asked before the edge was made.
pub(crate) fn close_on_stop(edge: &[SendHalf], stop: &Stop) {
    for lane in edge.iter().flat_map(|half| &half.lanes) {
        // Weak: a channel whose stages are gone must look ended to its reader.
        let lane = lane.downgrade();
        stop.on_stop(move || {
            if let Some(lane) = lane.upgrade() {
                lane.close();
            }
        });
    }
}

/// The end of an edge that one producer writes to.
#[derive(Debug)]
pub struct SendHalf {
    // In the order of the producer's items, and then again from the first.
    lanes: Vec<Sender<Item>>,
    next: usize,
    counters: Arc<EdgeCounters>,
    dealer: Option<Dealer>,
}

/// The end of an edge that one consumer reads from.
#[derive(Debug)]
pub struct ReceiveHalf {
    // In the order of the consumer's items, and then again from the first.
    lanes: Vec<Receiver<Item>>,
    next: usize,
    counters: Arc<EdgeCounters>,
}

/// An edge from `producers` workers to `consumers` workers with room for about `capacity` items.
///
/// Items wait in lanes of their own for each pair of workers that meets; the capacity is shared among
/// the lanes, each of which has room for one item at least.
pub fn edge(
    producers: usize,
    consumers: usize,
    capacity: usize,
) -> (Vec<SendHalf>, Vec<ReceiveHalf>) {
    let counters = Arc::new(EdgeCounters::default());
    let send =
        || SendHalf { lanes: Vec::new(), next: 0, counters: Arc::clone(&counters), dealer: None };
    let receive = || ReceiveHalf { lanes: Vec::new(), next: 0, counters: Arc::clone(&counters) };
    let mut sends: Vec<SendHalf> = (0..producers).map(|_| send()).collect();
    let mut receives: Vec<ReceiveHalf> = (0..consumers).map(|_| receive()).collect();
    let lanes = lanes_in_use(producers, consumers);
    let room = (capacity / lanes).max(1);
    // After so many items the same pairs meet again in the same order.
    for item in 0..lanes {
        let (sender, receiver) = bounded(room);
        sends[item % producers].lanes.push(sender);
        receives[item % consumers].lanes.push(receiver);
    }
    (sends, receives)
}

/// The items that an edge of this capacity has room for: one in each lane at least.
pub fn room(producers: usize, consumers: usize, capacity: usize) -> usize {
    let in_use = lanes_in_use(producers, consumers);
    (capacity / in_use).max(1) * in_use
}

fn lanes_in_use(producers: usize, consumers: usize) -> usize {
    producers * consumers / common_divisor(producers, consumers)
}

/// The greatest number that divides both; neither is 0.
fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

impl SendHalf {
    /// What crosses the edge, for all its halves.
    pub fn counters(&self) -> &Arc<EdgeCounters> {
        &self.counters
    }

    /// Leaves to other processes of the job what is theirs. The only half of its edge can.
    pub(crate) fn deal(&mut self, dealer: Dealer) {
        self.dealer = Some(dealer);
    }

    async fn send(&mut self, item: Item) -> Result<(), Closed> {
        let item = match &mut self.dealer {
            Some(dealer) => dealer.deal(item),
            None => item,
        };
        let lane = self.next;
        self.next = (self.next + 1) % self.lanes.len();
        let waiting: usize = self.lanes.iter().map(Sender::len).sum();
        self.counters.waiting.fetch_add(waiting as u64, Ordering::Relaxed);
        self.counters.items_in.fetch_add(1, Ordering::Relaxed);
        let start = Instant::now();
        let sent = self.lanes[lane].send(item).await.map_err(|_| Closed);
        Counters::add(&self.counters.full_wait_ns, start.elapsed());
        sent
    }
}

impl ReceiveHalf {
    async fn receive(&mut self) -> Option<Item> {
        let lane = self.next;
        self.next = (self.next + 1) % self.lanes.len();
        let start = Instant::now();
        let item = self.lanes[lane].recv().await.ok();
        Counters::add(&self.counters.empty_wait_ns, start.elapsed());
        if let Some(item) = &item {
            self.counters.items.fetch_add(1, Ordering::Relaxed);
            self.counters.images.fetch_add(item.images() as u64, Ordering::Relaxed);
        }
        item
    }
}

/// What a running stage sees of the pipeline: its inputs, its output, nothing else.
#[derive(Debug)]
pub struct Ports {
    inputs: Vec<ReceiveHalf>,
    // Consumers that are gone are taken out.
    outputs: Vec<SendHalf>,
    had_outputs: bool,
    counters: Arc<Counters>,
    stop: Stop,
    working_since: Instant,
    tap: Option<Tap>,
}

/// Listens to the first images that a stage puts out.
#[derive(Clone, Debug)]
pub struct Tap {
    /// The stage.
    pub stage: String,
    /// How many images.
    pub images: usize,
    /// Where they are told.
    pub events: Events,
}

impl Tap {
    /// Tells the first images of a block.
    pub fn tell(&self, block: &Block) {
        let here = block.samples.iter().filter(|s| s.image.pixels != Pixels::Elsewhere);
        let decoded = |sample: &Sample| {
            let mut sample = sample.clone();
            // What cannot be decoded is told where it is used.
            sample.image.decode().ok().map(|()| sample)
        };
        let samples = here.take(self.images).filter_map(decoded).collect();
        self.events.emit(Event::Tapped(Tapped { stage: self.stage.clone(), samples }));
    }
}

impl Ports {
    /// Ports over these edges.
    pub fn new(
        inputs: Vec<ReceiveHalf>,
        outputs: Vec<SendHalf>,
        counters: Arc<Counters>,
        stop: Stop,
    ) -> Self {
        let had_outputs = !outputs.is_empty();
        let working_since = Instant::now();
        Self { inputs, outputs, had_outputs, counters, stop, working_since, tap: None }
    }

    /// The same ports, listened to.
    pub fn tapped(self, tap: Option<Tap>) -> Self {
        Self { tap, ..self }
    }

    /// The next item of an input, or `None` at its end and when the run is asked to stop.
    pub async fn receive(&mut self, input: usize) -> Option<Item> {
        if self.stop.is_stopped() {
            return None;
        }
        let start = Instant::now();
        Counters::add(&self.counters.busy_ns, start - self.working_since);
        let item = self.inputs[input].receive().await;
        self.working_since = Instant::now();
        Counters::add(&self.counters.input_wait_ns, self.working_since - start);
        if item.is_some() {
            self.counters.items_in.fetch_add(1, Ordering::Relaxed);
        }
        item
    }

    /// Hands an item to every consumer, waiting for room.
    ///
    /// # Errors
    /// [`Closed`] once there were consumers and all of them are gone.
    pub async fn send(&mut self, item: Item) -> Result<(), Closed> {
        if let (Item::Block(block), Some(tap)) = (&item, self.tap.take()) {
            tap.tell(block);
        }
        let start = Instant::now();
        Counters::add(&self.counters.busy_ns, start - self.working_since);
        let mut gone = Vec::new();
        let last = self.outputs.len().saturating_sub(1);
        let mut item = Some(item);
        for (at, output) in self.outputs.iter_mut().enumerate() {
            let copy = if at == last { item.take() } else { item.clone() };
            if let Some(copy) = copy
                && output.send(copy).await.is_err()
            {
                gone.push(at);
            }
        }
        for at in gone.into_iter().rev() {
            self.outputs.remove(at);
        }
        self.working_since = Instant::now();
        Counters::add(&self.counters.output_wait_ns, self.working_since - start);
        self.counters.items_out.fetch_add(1, Ordering::Relaxed);
        if self.outputs.is_empty() && self.had_outputs { Err(Closed) } else { Ok(()) }
    }

    /// Whether anybody was ever connected to the output.
    pub fn has_consumers(&self) -> bool {
        self.had_outputs
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::item::{Batch, Source};
    use compute::pass::Pass;

    fn item(number: u64) -> Item {
        let source = Source {
            description: String::new(),
            epoch_images: 1,
            split: String::new(),
            classes: Vec::new(),
            stands_in_for: None,
            limit: None,
            in_a_row: None,
        };
        Item::Batch(Batch {
            source: Arc::new(source),
            number,
            ids: Vec::new(),
            labels: Vec::new(),
            shape: [1, 1, 1],
            images: Vec::new().into(),
            whole: 0,
            ends_epoch: false,
            pass: Pass::open(1, 1),
            samples_end: 0,
        })
    }

    fn number(item: &Item) -> u64 {
        match item {
            Item::Batch(batch) => batch.number,
            _ => panic!("not what was sent"),
        }
    }

    /// source -> `a` workers -> `b` workers -> sink keeps the order.
    fn order_through(a: usize, b: usize) -> Vec<u64> {
        let (mut first, into_a) = edge(1, a, 2);
        let (from_a, into_b) = edge(a, b, 2);
        let (from_b, mut last) = edge(b, 1, 2);
        thread::scope(|scope| {
            let workers = into_a.into_iter().zip(from_a).chain(into_b.into_iter().zip(from_b));
            for (mut input, mut output) in workers {
                scope.spawn(move || {
                    pollster::block_on(async {
                        while let Some(item) = input.receive().await {
                            if number(&item).is_multiple_of(3) {
                                thread::yield_now();
                            }
                            if output.send(item).await.is_err() {
                                break;
                            }
                        }
                    });
                });
            }
            scope.spawn(move || {
                for n in 0..100 {
                    pollster::block_on(first[0].send(item(n))).expect("the sink listens");
                }
            });
            std::iter::from_fn(|| pollster::block_on(last[0].receive()))
                .map(|i| number(&i))
                .collect()
        })
    }

    #[test]
    fn an_edge_holds_about_its_capacity_whatever_the_number_of_workers() {
        for (producers, consumers, capacity, expected) in
            [(1, 1, 4, 4), (1, 2, 4, 4), (2, 2, 4, 4), (4, 2, 8, 8), (3, 2, 4, 6), (5, 1, 4, 5)]
        {
            let (mut sends, _receives) = edge(producers, consumers, capacity);
            let mut held = 0;
            for send in &mut sends {
                // A producer's next item goes to one lane after the other until one is full.
                while send.lanes[send.next].try_send(item(0)).is_ok() {
                    send.next = (send.next + 1) % send.lanes.len();
                    held += 1;
                }
            }
            assert_eq!(held, expected, "{producers} to {consumers}, {capacity}");
        }
    }

    #[test]
    fn only_workers_that_meet_have_a_lane() {
        for (producers, consumers, lanes) in
            [(1, 1, 1), (2, 4, 4), (6, 4, 12), (5, 3, 15), (1024, 1024, 1024), (512, 1024, 1024)]
        {
            let (sends, receives) = edge(producers, consumers, 4);
            let sent: usize = sends.iter().map(|send| send.lanes.len()).sum();
            let received: usize = receives.iter().map(|receive| receive.lanes.len()).sum();
            assert_eq!((sent, received), (lanes, lanes), "{producers} to {consumers}");
        }
    }

    #[test]
    fn order_is_kept_for_any_number_of_workers() {
        let expected: Vec<u64> = (0..100).collect();
        for (a, b) in [(1, 1), (2, 1), (3, 2), (2, 3), (6, 4), (4, 6), (8, 8), (16, 5)] {
            assert_eq!(order_through(a, b), expected, "{a} and {b} workers");
        }
    }
}
