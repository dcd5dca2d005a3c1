// The mean of each channel and the squared distances from it, over the positions of a part of the
// images.
//
// Reads input; writes for each split of the images to partials: its positions, the CHANNELS means, the
// CHANNELS sums of squared distances from these means. A split without images is 0.
// Dispatch: one workgroup per (32 channels, split), in x and y.
// A workgroup is 32 channels x 8 lanes that take every eighth position, so that loads are contiguous.
// It goes through its positions twice, so that distances are from the right mean.
// A turn of a loop takes 8 or 4 positions: two million in a split before turns run out
// (CONTRIBUTING.md).

override POSITIONS: u32;
override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;

var<workgroup> sums: array<array<f32, 32>, 8>;

// The distance from `mean` at a position; 0 past the end.
// Without a branch, so that the loads of a turn of the loop can all be under way at once.
fn distance_from(mean: f32, position: u32, end: u32, channel: u32) -> f32 {
    let at = min(position, end - 1u) * CHANNELS + channel;
    return select(0.0, f32(input[at]) - mean, position < end);
}

// The sum of the lanes of a channel, in their order. To be called by all of a workgroup.
fn sum_of_lanes(lane: u32, column: u32, value: f32) -> f32 {
    workgroupBarrier();
    sums[lane][column] = value;
    workgroupBarrier();
    var sum = sums[0][column];
    for (var other = 1u; other < 8u; other++) {
        sum += sums[other][column];
    }
    return sum;
}

@compute @workgroup_size(32, 8)
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(local_invocation_id) local_id: vec3u) {
    let channel = group_id.x * 32u + local_id.x;
    let split = group_id.y;
    let images = images_of(split, step.images);
    let begin = images.begin * POSITIONS;
    let end = images.end * POSITIONS;
    var sum = 0.0;
    if (channel < CHANNELS) {
        for (var position = begin + local_id.y; position < end; position += 64u) {
            sum += distance_from(0.0, position, end, channel);
            sum += distance_from(0.0, position + 8u, end, channel);
            sum += distance_from(0.0, position + 16u, end, channel);
            sum += distance_from(0.0, position + 24u, end, channel);
            sum += distance_from(0.0, position + 32u, end, channel);
            sum += distance_from(0.0, position + 40u, end, channel);
            sum += distance_from(0.0, position + 48u, end, channel);
            sum += distance_from(0.0, position + 56u, end, channel);
        }
    }
    let count = f32(end - begin);
    let mean = sum_of_lanes(local_id.y, local_id.x, sum) / max(count, 1.0);
    var squares = 0.0;
    if (channel < CHANNELS) {
        for (var position = begin + local_id.y; position < end; position += 32u) {
            let a = distance_from(mean, position, end, channel);
            let b = distance_from(mean, position + 8u, end, channel);
            let c = distance_from(mean, position + 16u, end, channel);
            let d = distance_from(mean, position + 24u, end, channel);
            squares += a * a;
            squares += b * b;
            squares += c * c;
            squares += d * d;
        }
    }
    squares = sum_of_lanes(local_id.y, local_id.x, squares);
    if (local_id.y == 0u && channel < CHANNELS) {
        let part = split * (1u + 2u * CHANNELS);
        if (channel == 0u) {
            partials[part] = count;
        }
        partials[part + 1u + channel] = mean;
        partials[part + 1u + CHANNELS + channel] = squares;
    }
}
