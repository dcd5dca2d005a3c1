// The derivative of biases: the sum of the output's gradients over images and positions.
//
// Reads output_gradients; writes one sum per split of the images to partials.
// Dispatch: one workgroup per (32 channels, split), in x and y.
// A workgroup is 32 channels x 8 lanes that take every eighth position, so that loads are
// contiguous and a few splits make many invocations; the lanes' sums meet in workgroup memory.
// A turn of the loop takes 8 positions: four million in a split before turns run out
// (CONTRIBUTING.md).

override POSITIONS: u32;
override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;

var<workgroup> sums: array<array<f32, 32>, 8>;

// The gradient at a position; 0 past the end.
// Without a branch, so that the loads of a turn of the loop can all be under way at once.
fn gradient(position: u32, end: u32, channel: u32) -> f32 {
    let at = min(position, end - 1u) * CHANNELS + channel;
    return select(0.0, f32(output_gradients[at]), position < end);
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
            sum += gradient(position, end, channel);
            sum += gradient(position + 8u, end, channel);
            sum += gradient(position + 16u, end, channel);
            sum += gradient(position + 24u, end, channel);
            sum += gradient(position + 32u, end, channel);
            sum += gradient(position + 40u, end, channel);
            sum += gradient(position + 48u, end, channel);
            sum += gradient(position + 56u, end, channel);
        }
    }
    sums[local_id.y][local_id.x] = sum;
    workgroupBarrier();
    if (local_id.y == 0u && channel < CHANNELS) {
        for (var lane = 1u; lane < 8u; lane++) {
            sum += sums[lane][local_id.x];
        }
        partials[split * CHANNELS + channel] = GRADIENT_UNIT * sum;
    }
}
