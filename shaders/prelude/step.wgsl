// What a kernel is told of the step that it is part of.

struct Step {
    // Images at hand: a batch, or a part of it that fits the adapter's memory.
    images: u32,
    // Images of the whole batch.
    batch: u32,
    // Not 0 in the parts after the first, which add to sums over the batch.
    accumulate: u32,
    // Steps taken before this one.
    step: u32,
    learning_rate: f32,
    average_decay: f32,
    seed: u32,
    // 0 where images are only scored.
    training: u32,
}

@group(1) @binding(0) var<uniform> step: Step;
