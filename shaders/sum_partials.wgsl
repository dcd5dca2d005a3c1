// Sums PARTS rows of a few numbers, LENGTH, times SCALE, written from OFFSET on.
// Reads partials, writes LENGTH of the TOTAL elements of sums; the others stay as they are.
// Micro-batches after the first add to what is there.
// Dispatch: one workgroup per sum, in one dimension folded into two.
// An invocation sums every 256th part, and the sums meet in a tree in workgroup memory, always in
// the same order: with one invocation per sum, few would be at work.

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override PARTS: u32;
override LENGTH: u32;
override OFFSET: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
@group(1) @binding(0) var<uniform> step: Step;

var<workgroup> lanes: array<f32, 256>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let at = group.x + group.y * groups.x;
    var lane = 0.0;
    if (at < LENGTH) {
        for (var part = local; part < PARTS; part += 256u) {
            lane += partials[part * LENGTH + at];
        }
    }
    lanes[local] = lane;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            lanes[local] += lanes[local + half];
        }
    }
    if (local == 0u && at < LENGTH) {
        var sum = lanes[0] * SCALE;
        if (step.accumulate != 0u) {
            sum += sums[OFFSET + at];
        }
        sums[OFFSET + at] = sum;
    }
}
