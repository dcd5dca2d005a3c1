//! Training allocates nothing on the `cpu` adapter once it is under way.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use compute::adapter::host::Cpu;
use compute::adapter::{Adapter, Lowering, Readback, Values};
use compute::graph::Phase;
use compute::kernel::Step;
use compute::verify::network;
use stages::model::golden;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counted.
struct Counted;

// SAFETY: the system's allocator keeps all promises, and is asked for just what was asked for.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

#[test]
fn no_step_allocates_once_training_is_under_way() {
    const IMAGES: usize = 32;
    const STEPS: usize = 32;
    const STRETCHES: usize = 6;
    let graph = golden::graph().expect("the tutorial's network compiles");
    let adapter = Cpu::new(2).expect("the cpu adapter starts");
    let how = Lowering { buckets: graph.buckets(usize::MAX), ..Lowering::of(IMAGES) };
    let mut replica = adapter.lower(&graph, &how).expect("it fits");
    let batch = network::fixed_batch(&graph, IMAGES, 0).expect("a batch");
    let phases = [Phase::Forward, Phase::Loss, Phase::Backward, Phase::Update];
    let [stretch] = &graph.stretches(&phases)[..] else { panic!("nothing is averaged") };
    let step = Step { learning_rate: 0.1, ..Step::of(IMAGES) };
    let images = graph.images.expect("it takes images");
    let [mut gradient, mut outcome] = [Vec::new(), Vec::new()];
    let mut train = || {
        replica.write(images, Values::Real(&batch.images)).expect("it takes images");
        replica.run(&stretch.spans, &step).expect("it trains");
        for (readback, to) in
            [(Readback::Bucket(0), &mut gradient), (Readback::Outcome, &mut outcome)]
        {
            to.clear();
            replica.begin(readback).expect("it is there");
            replica.take(readback, to).expect("it was begun");
        }
    };
    // A thread gets a kernel's working memory when it first has work of that kernel, which may be many
    // steps on where it is the slower one; what a step allocates shows in every stretch of steps.
    let made: Vec<usize> = (0..STRETCHES)
        .map(|_| {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            (0..STEPS).for_each(|_| train());
            ALLOCATIONS.load(Ordering::Relaxed) - before
        })
        .collect();
    // The queue by which threads are given work grows in blocks of many steps.
    let least = made.iter().min().expect("there are stretches");
    assert!(*least <= STEPS / 8, "{made:?} allocations in {STEPS} steps each");
}
