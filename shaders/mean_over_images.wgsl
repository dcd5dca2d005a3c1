// The mean over the batch of LENGTH numbers per image, written from OFFSET on.
// Reads image_values, writes LENGTH of the TOTAL elements of means; the others stay as they are.
// Micro-batches after the first add to what is there.
// Dispatch: one workgroup per mean, in one dimension folded into two.
// There are few means of many images: an invocation sums every 256th image, and the sums meet in
// a tree in workgroup memory, always in the same order.

override LENGTH: u32;
override OFFSET: u32;

@group(0) @binding(0) var<storage, read> image_values: array<Element>;
@group(0) @binding(1) var<storage, read_write> means: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group_id: vec3u,
    @builtin(num_workgroups) group_count: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let group = linear_group(group_id, group_count);
    var sum = 0.0;
    if (group < LENGTH) {
        for (var image = local_index; image < step.images; image += 256u) {
            sum += f32(image_values[image * LENGTH + group]);
        }
    }
    let total = tree_sum(local_index, sum);
    if (local_index == 0u && group < LENGTH) {
        var mean = total / f32(step.batch);
        if (step.accumulate != 0u) {
            mean += means[OFFSET + group];
        }
        means[OFFSET + group] = mean;
    }
}
