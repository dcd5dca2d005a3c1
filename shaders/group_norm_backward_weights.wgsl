// The derivative of group normalisation's scale and offset: the sums of the output's gradients, times
// the normalised input and alone, over the positions of a part of the images.
// Reads input and output_gradients; writes one sum per channel and split of the images to
// scale_partials and to offset_partials.
// Dispatch: one workgroup per (split, group, block of channels), in one dimension folded into two.
// A workgroup takes its images one after the other. First all of it works out the statistics of the
// group, then it is BLOCK_CHANNELS channels x LANES lanes that take every LANES-th position, so that
// loads are contiguous; a group of more than 256 channels has several blocks of them. The lanes' sums
// meet in workgroup memory.
// A turn of a loop takes 4 numbers of each invocation, or 4 positions of each lane. Turns run out
// (CONTRIBUTING.md) beyond 87,000 positions in a split with groups of 256 channels, and beyond 22
// million with groups of one.

override POSITIONS: u32;
override EPSILON: f32;

// Numbers of a group of an image.
override GROUP_LENGTH: u32 = POSITIONS * GROUP_CHANNELS;

// What a workgroup has of a group.
override BLOCK_CHANNELS: u32 = min(GROUP_CHANNELS, 256u);
override LANES: u32 = 256u / BLOCK_CHANNELS;
override BLOCKS: u32 = (GROUP_CHANNELS + BLOCK_CHANNELS - 1u) / BLOCK_CHANNELS;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read_write> scale_partials: array<f32>;
@group(0) @binding(3) var<storage, read_write> offset_partials: array<f32>;

// Of each lane those of its channels.
var<workgroup> sums: array<vec2f, 256>;

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

// The gradient at a position, alone and times the normalised number, of the channel that begins at
// `start`; 0 past the end.
fn terms(group: Statistics, start: u32, position: u32) -> vec2f {
    let at = start + min(position, POSITIONS - 1u) * ALL_CHANNELS;
    let gradient = f32(output_gradients[at]);
    let normal = (f32(input[at]) - group.origin - group.mean) * group.inverse;
    return select(vec2f(0.0), vec2f(gradient, gradient * normal), position < POSITIONS);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group_id: vec3u,
    @builtin(num_workgroups) group_count: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let workgroup = linear_group(group_id, group_count);
    if (workgroup >= SPLITS * GROUPS * BLOCKS) {
        return;
    }
    let split = workgroup / (GROUPS * BLOCKS);
    let channel = workgroup / BLOCKS % GROUPS * GROUP_CHANNELS;
    let column = workgroup % BLOCKS * BLOCK_CHANNELS + local_index % BLOCK_CHANNELS;
    let lane = local_index / BLOCK_CHANNELS;
    let has_column = lane < LANES && column < GROUP_CHANNELS;
    let images = images_of(split, step.images);
    var sum = vec2f(0.0);
    for (var image = images.begin; image < images.end; image++) {
        let start = image * POSITIONS * ALL_CHANNELS + channel;
        let statistics = statistics_of(start, local_index);
        if (has_column) {
            for (var position = lane; position < POSITIONS; position += 4u * LANES) {
                sum += terms(statistics, start + column, position);
                sum += terms(statistics, start + column, position + LANES);
                sum += terms(statistics, start + column, position + 2u * LANES);
                sum += terms(statistics, start + column, position + 3u * LANES);
            }
        }
    }
    sums[local_index] = sum;
    workgroupBarrier();
    if (lane == 0u && has_column) {
        for (var other = 1u; other < LANES; other++) {
            sum += sums[other * BLOCK_CHANNELS + local_index];
        }
        let at = split * ALL_CHANNELS + channel + column;
        offset_partials[at] = GRADIENT_UNIT * sum.x;
        scale_partials[at] = GRADIENT_UNIT * sum.y;
    }
}
