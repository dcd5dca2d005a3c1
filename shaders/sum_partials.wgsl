// Sums PARTS rows of a few numbers, LENGTH, times SCALE, written from OFFSET on.
// Reads partials, writes LENGTH of the TOTAL elements of sums; the others stay as they are.
// Micro-batches after the first add to what is there.
// Dispatch: one workgroup per sum, in one dimension folded into two.
// An invocation sums every 256th part, and the sums meet in a tree in workgroup memory, always in
// the same order: with one invocation per sum, few would be at work.

override PARTS: u32;
override LENGTH: u32;
override OFFSET: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group_id: vec3u,
    @builtin(num_workgroups) group_count: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let group = linear_group(group_id, group_count);
    var lane = 0.0;
    if (group < LENGTH) {
        for (var part = local_index; part < PARTS; part += 256u) {
            lane += partials[part * LENGTH + group];
        }
    }
    let total = tree_sum(local_index, lane);
    if (local_index == 0u && group < LENGTH) {
        var sum = total * SCALE;
        if (step.accumulate != 0u) {
            sum += sums[OFFSET + group];
        }
        sums[OFFSET + group] = sum;
    }
}
