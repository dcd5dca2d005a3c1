// The mean over the batch of LENGTH numbers per image, written from OFFSET on.
// Reads image_values, writes LENGTH of the TOTAL elements of means; the others stay as they are.
// Micro-batches after the first add to what is there.
// Dispatch: one invocation per mean.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override LENGTH: u32;
override OFFSET: u32;

@group(0) @binding(0) var<storage, read> image_values: array<Element>;
@group(0) @binding(1) var<storage, read_write> means: array<f32>;
@group(1) @binding(0) var<uniform> step: Step;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let at = id.x + id.y * groups.x * 256u;
    if (at >= LENGTH) {
        return;
    }
    var sum = 0.0;
    for (var image = 0u; image < step.images; image++) {
        sum += f32(image_values[image * LENGTH + at]);
    }
    var mean = sum / f32(step.batch);
    if (step.accumulate != 0u) {
        mean += means[OFFSET + at];
    }
    means[OFFSET + at] = mean;
}
