// The derivative of a depthwise convolution by its weights.
// Reads input and output_gradients; writes one sum per split of the images to partials.
// Dispatch: one invocation per element of partials, channels fastest: neighbours load neighbours. A
// turn of the loop takes 8 positions, so that turns do not run out (CONTRIBUTING.md).

override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;

// Adds the product of an input and an output gradient of these rows, if both are inside.
fn add_product(sum: f32, input_at: u32, gradients_at: u32, x: u32, out_x: u32) -> f32 {
    if (x >= IN_WIDTH || out_x >= OUT_WIDTH) {
        return sum;
    }
    let gradient = f32(output_gradients[gradients_at + out_x * CHANNELS]);
    return fma(f32(input[input_at + x * CHANNELS]), gradient, sum);
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    let channel = index % CHANNELS;
    let tap = index / CHANNELS % (KERNEL_HEIGHT * KERNEL_WIDTH);
    let split = index / CHANNELS / (KERNEL_HEIGHT * KERNEL_WIDTH);
    if (split >= SPLITS) {
        return;
    }
    let images = images_of(split, step.images);
    var sum = 0.0;
    for (var out_row = images.begin * OUT_HEIGHT; out_row < images.end * OUT_HEIGHT; out_row++) {
        // Rows and columns before the image wrap around to very large ones.
        let y = out_row % OUT_HEIGHT * STRIDE_Y + tap / KERNEL_WIDTH - PAD_TOP;
        if (y >= IN_HEIGHT) {
            continue;
        }
        let input_at = (out_row / OUT_HEIGHT * IN_HEIGHT + y) * IN_WIDTH * CHANNELS + channel;
        let gradients_at = out_row * OUT_WIDTH * CHANNELS + channel;
        for (var out_x = 0u; out_x < OUT_WIDTH; out_x += 8u) {
            let x = out_x * STRIDE_X + tap % KERNEL_WIDTH - PAD_LEFT;
            sum = add_product(sum, input_at, gradients_at, x, out_x);
            sum = add_product(sum, input_at, gradients_at, x + STRIDE_X, out_x + 1u);
            sum = add_product(sum, input_at, gradients_at, x + 2u * STRIDE_X, out_x + 2u);
            sum = add_product(sum, input_at, gradients_at, x + 3u * STRIDE_X, out_x + 3u);
            sum = add_product(sum, input_at, gradients_at, x + 4u * STRIDE_X, out_x + 4u);
            sum = add_product(sum, input_at, gradients_at, x + 5u * STRIDE_X, out_x + 5u);
            sum = add_product(sum, input_at, gradients_at, x + 6u * STRIDE_X, out_x + 6u);
            sum = add_product(sum, input_at, gradients_at, x + 7u * STRIDE_X, out_x + 7u);
        }
    }
    partials[index] = GRADIENT_UNIT * sum;
}
