// The derivative of biases: the sum of the output's gradients over images and positions.
//
// Reads output_gradients; writes one sum per split of the images to partials.
// Dispatch: one workgroup per (32 channels, split), in x and y.
// A workgroup is 32 channels x 8 lanes that take every eighth position, so that loads are
// contiguous and a few splits make many invocations; the lanes' sums meet in workgroup memory.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override POSITIONS: u32;
override CHANNELS: u32;
override SPLITS: u32;

@group(0) @binding(0) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;
@group(1) @binding(0) var<uniform> step: Step;

var<workgroup> sums: array<array<f32, 32>, 8>;

@compute @workgroup_size(32, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let channel = group.x * 32u + local.x;
    let split = group.y;
    let split_images = (step.images + SPLITS - 1u) / SPLITS;
    let begin = min(split * split_images, step.images) * POSITIONS;
    let end = min((split + 1u) * split_images, step.images) * POSITIONS;
    var sum = 0.0;
    if (channel < CHANNELS) {
        for (var position = begin + local.y; position < end; position += 8u) {
            sum += f32(output_gradients[position * CHANNELS + channel]);
        }
    }
    sums[local.y][local.x] = sum;
    workgroupBarrier();
    if (local.y == 0u && channel < CHANNELS) {
        for (var lane = 1u; lane < 8u; lane++) {
            sum += sums[lane][local.x];
        }
        partials[split * CHANNELS + channel] = sum;
    }
}
