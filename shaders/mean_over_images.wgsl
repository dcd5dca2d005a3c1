// The mean over the batch of LENGTH numbers per image, written from OFFSET on.
// Reads image_values, writes LENGTH of the TOTAL elements of means; the others stay as they are.
// Micro-batches after the first add to what is there.
// Dispatch: one workgroup per mean, in one dimension folded into two.
// There are few means of many images: an invocation sums every 256th image, and the sums meet in
// a tree in workgroup memory, always in the same order.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override LENGTH: u32;
override OFFSET: u32;

@group(0) @binding(0) var<storage, read> image_values: array<Element>;
@group(0) @binding(1) var<storage, read_write> means: array<f32>;
@group(1) @binding(0) var<uniform> step: Step;

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let at = group.x + group.y * groups.x;
    var sum = 0.0;
    if (at < LENGTH) {
        for (var image = local; image < step.images; image += 256u) {
            sum += f32(image_values[image * LENGTH + at]);
        }
    }
    sums[local] = sum;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            sums[local] += sums[local + half];
        }
    }
    if (local == 0u && at < LENGTH) {
        var mean = sums[0] / f32(step.batch);
        if (step.accumulate != 0u) {
            mean += means[OFFSET + at];
        }
        means[OFFSET + at] = mean;
    }
}
