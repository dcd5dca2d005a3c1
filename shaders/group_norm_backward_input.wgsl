// The derivative of group normalisation's input: the scaled gradient less its mean, and less its mean
// along the normalised input, both over the group, divided by the deviation as the input was.
// Reads input, output_gradients and scale, writes input_gradients.
// Dispatch: one workgroup per group of each image, in one dimension folded into two.
// A workgroup goes through its group four times: for the mean, for the variance, for the means of the
// gradients, and to write.
// A turn of a loop takes 4 numbers of each invocation: 16 million in a group before turns run out
// (CONTRIBUTING.md).

override POSITIONS: u32;
override EPSILON: f32;

// Numbers of a group of an image.
override GROUP_LENGTH: u32 = POSITIONS * GROUP_CHANNELS;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> input_gradients: array<Element>;

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

// The gradient of a normalised number of the group that begins at `start` and has its channels from
// `channel` on, alone and times that number; 0 past the end.
fn terms(group: Statistics, start: u32, channel: u32, number: u32) -> vec2f {
    let normal = distance_from(group.origin, group.mean, start, number) * group.inverse;
    let at = start + group_offset(min(number, GROUP_LENGTH - 1u));
    let gradient = scale[channel + number % GROUP_CHANNELS] * f32(output_gradients[at]);
    return select(vec2f(0.0), vec2f(gradient, gradient * normal), number < GROUP_LENGTH);
}

// Writes the gradient of a number of a group; none past the end.
fn give_back(group: Statistics, means: vec2f, start: u32, channel: u32, number: u32) {
    if (number < GROUP_LENGTH) {
        let normal = distance_from(group.origin, group.mean, start, number) * group.inverse;
        let at = start + group_offset(number);
        let gradient = scale[channel + number % GROUP_CHANNELS] * f32(output_gradients[at]);
        let rest = gradient - means.x - normal * means.y;
        input_gradients[at] = Element(group.inverse * rest);
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
    var sums = vec2f(0.0);
    for (var number = local_index; number < GROUP_LENGTH; number += 1024u) {
        sums += terms(statistics, start, channel, number);
        sums += terms(statistics, start, channel, number + 256u);
        sums += terms(statistics, start, channel, number + 512u);
        sums += terms(statistics, start, channel, number + 768u);
    }
    let gradients = sum_of_all(local_index, sums.x);
    let along = sum_of_all(local_index, sums.y);
    let means = vec2f(gradients, along) / f32(GROUP_LENGTH);
    for (var number = local_index; number < GROUP_LENGTH; number += 1024u) {
        give_back(statistics, means, start, channel, number);
        give_back(statistics, means, start, channel, number + 256u);
        give_back(statistics, means, start, channel, number + 512u);
        give_back(statistics, means, start, channel, number + 768u);
    }
}
