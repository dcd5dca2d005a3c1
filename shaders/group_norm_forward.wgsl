// Group normalisation: takes the mean of each group of an image away, divides by its deviation, scales
// and shifts each channel by its own.
// Reads input, scale and offset, writes output.
// Dispatch: one workgroup per group of each image, in one dimension folded into two.
// A workgroup goes through its group three times: for the mean, for the variance, and to write.
// A turn of a loop takes 4 numbers of each invocation: 22 million in a group before turns run out
// (CONTRIBUTING.md).

override POSITIONS: u32;
override EPSILON: f32;

// Numbers of a group of an image.
override GROUP_LENGTH: u32 = POSITIONS * GROUP_CHANNELS;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> scale: array<f32>;
@group(0) @binding(2) var<storage, read> offset: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<Element>;

// The distance of a number from the mean of its group, which begins at `start`; 0 past the end.
// Without a branch, so that the loads of a turn of a loop can all be under way at once.
fn distance_from(origin: f32, mean: f32, start: u32, number: u32) -> f32 {
    let at = start + group_offset(min(number, GROUP_LENGTH - 1u));
    return select(0.0, f32(input[at]) - origin - mean, number < GROUP_LENGTH);
}

// The statistics of the group that begins at `start`. To be called by all of a workgroup.
fn statistics_of(start: u32, local_index: u32) -> Statistics {
    let origin = f32(input[start]);
    var sum = 0.0;
    for (var number = local_index; number < GROUP_LENGTH; number += 1024u) {
        sum += distance_from(origin, 0.0, start, number);
        sum += distance_from(origin, 0.0, start, number + 256u);
        sum += distance_from(origin, 0.0, start, number + 512u);
        sum += distance_from(origin, 0.0, start, number + 768u);
    }
    let mean = sum_of_all(local_index, sum) / f32(GROUP_LENGTH);
    var squares = 0.0;
    for (var number = local_index; number < GROUP_LENGTH; number += 1024u) {
        let a = distance_from(origin, mean, start, number);
        let b = distance_from(origin, mean, start, number + 256u);
        let c = distance_from(origin, mean, start, number + 512u);
        let d = distance_from(origin, mean, start, number + 768u);
        squares += a * a;
        squares += b * b;
        squares += c * c;
        squares += d * d;
    }
    let variance = sum_of_all(local_index, squares) / f32(GROUP_LENGTH);
    return Statistics(origin, mean, inverseSqrt(variance + EPSILON));
}

// Writes a number of the group that begins at `start` and has its channels from `channel` on; none past
// the end.
fn normalize(group: Statistics, start: u32, channel: u32, number: u32) {
    if (number < GROUP_LENGTH) {
        let own = channel + number % GROUP_CHANNELS;
        let normal = distance_from(group.origin, group.mean, start, number) * group.inverse;
        output[start + group_offset(number)] = Element(scale[own] * normal + offset[own]);
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group_id: vec3u,
    @builtin(num_workgroups) group_count: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let group = linear_group(group_id, group_count);
    if (group >= step.images * GROUPS) {
        return;
    }
    let channel = group % GROUPS * GROUP_CHANNELS;
    let start = group / GROUPS * POSITIONS * ALL_CHANNELS + channel;
    let statistics = statistics_of(start, local_index);
    for (var number = local_index; number < GROUP_LENGTH; number += 1024u) {
        normalize(statistics, start, channel, number);
        normalize(statistics, start, channel, number + 256u);
        normalize(statistics, start, channel, number + 512u);
        normalize(statistics, start, channel, number + 768u);
    }
}
