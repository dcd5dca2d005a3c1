// Sums PARTS rows of LENGTH numbers, times SCALE, written from OFFSET on.
// Reads partials, writes LENGTH of the TOTAL elements of sums; the others stay as they are.
// Micro-batches after the first add to what is there.
// Dispatch: one invocation per sum, which takes the parts in their order.

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override PARTS: u32;
override LENGTH: u32;
override OFFSET: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
@group(1) @binding(0) var<uniform> step: Step;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let at = id.x + id.y * groups.x * 256u;
    if (at >= LENGTH) {
        return;
    }
    var sum = 0.0;
    for (var part = 0u; part < PARTS; part++) {
        sum += partials[part * LENGTH + at];
    }
    sum *= SCALE;
    if (step.accumulate != 0u) {
        sum += sums[OFFSET + at];
    }
    sums[OFFSET + at] = sum;
}
