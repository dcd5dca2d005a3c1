// The sums behind the derivative of batch normalisation: of the gradients, and of the gradients times
// the normalised input, of each channel over the positions of a part of the images.
//
// Reads input, output_gradients, mean and variance; writes for each split of the images CHANNELS sums
// of either kind to partials.
// Dispatch: one workgroup per (32 channels, split), in x and y.
// A workgroup is 32 channels x 8 lanes that take every eighth position, so that loads are contiguous;
// the lanes' sums meet in workgroup memory.
// A turn of the loop takes 4 positions: two million in a split before turns run out
// (CONTRIBUTING.md).

override POSITIONS: u32;
override CHANNELS: u32;
override EPSILON: f32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> variance: array<f32>;
@group(0) @binding(4) var<storage, read_write> partials: array<f32>;

var<workgroup> sums: array<array<vec2f, 32>, 8>;

// The gradient at a position, alone and times the distance from the mean; 0 past the end.
// Without a branch, so that the loads of a turn of the loop can all be under way at once.
fn terms(mean: f32, position: u32, end: u32, channel: u32) -> vec2f {
    let at = min(position, end - 1u) * CHANNELS + channel;
    let gradient = f32(output_gradients[at]);
    let both = vec2f(gradient, gradient * (f32(input[at]) - mean));
    return select(vec2f(0.0), both, position < end);
}

@compute @workgroup_size(32, 8)
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(local_invocation_id) local_id: vec3u) {
    let channel = group_id.x * 32u + local_id.x;
    let split = group_id.y;
    let images = images_of(split, step.images);
    let begin = images.begin * POSITIONS;
    let end = images.end * POSITIONS;
    var sum = vec2f(0.0);
    if (channel < CHANNELS) {
        let mean = mean[channel];
        for (var position = begin + local_id.y; position < end; position += 32u) {
            sum += terms(mean, position, end, channel);
            sum += terms(mean, position + 8u, end, channel);
            sum += terms(mean, position + 16u, end, channel);
            sum += terms(mean, position + 24u, end, channel);
        }
    }
    sums[local_id.y][local_id.x] = sum;
    workgroupBarrier();
    if (local_id.y == 0u && channel < CHANNELS) {
        for (var lane = 1u; lane < 8u; lane++) {
            sum += sums[lane][local_id.x];
        }
        let part = split * 2u * CHANNELS;
        let inverse = inverseSqrt(variance[channel] + EPSILON);
        partials[part + channel] = GRADIENT_UNIT * sum.x;
        partials[part + CHANNELS + channel] = GRADIENT_UNIT * sum.y * inverse;
    }
}
