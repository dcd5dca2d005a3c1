// Convolution of each channel by itself.
// Reads input, weights and biases; writes output, [images, height, width, CHANNELS].
// Dispatch: one invocation per output element, channels fastest: neighbours load neighbours.

override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> biases: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<Element>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * OUT_HEIGHT * OUT_WIDTH * CHANNELS) {
        return;
    }
    let channel = index % CHANNELS;
    let out_x = index / CHANNELS % OUT_WIDTH;
    let out_y = index / CHANNELS / OUT_WIDTH % OUT_HEIGHT;
    let image = index / CHANNELS / OUT_WIDTH / OUT_HEIGHT;
    var sum = biases[channel];
    for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
        // Rows and columns before the image wrap around to very large ones.
        let y = out_y * STRIDE_Y + ky - PAD_TOP;
        if (y >= IN_HEIGHT) {
            continue;
        }
        for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
            let x = out_x * STRIDE_X + kx - PAD_LEFT;
            if (x >= IN_WIDTH) {
                continue;
            }
            let at = ((image * IN_HEIGHT + y) * IN_WIDTH + x) * CHANNELS + channel;
            sum = fma(f32(input[at]), weights[(ky * KERNEL_WIDTH + kx) * CHANNELS + channel], sum);
        }
    }
    output[index] = Element(sum);
}
