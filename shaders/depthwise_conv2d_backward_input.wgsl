// The derivative of a depthwise convolution by its input.
// Reads output_gradients and weights; writes input_gradients, [images, height, width, CHANNELS].
// Dispatch: one invocation per input element, channels fastest: neighbours load neighbours.

override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * IN_HEIGHT * IN_WIDTH * CHANNELS) {
        return;
    }
    let channel = index % CHANNELS;
    let x = index / CHANNELS % IN_WIDTH;
    let y = index / CHANNELS / IN_WIDTH % IN_HEIGHT;
    let image = index / CHANNELS / IN_WIDTH / IN_HEIGHT;
    var sum = 0.0;
    for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
        // Positions before the first wrap around to very large ones.
        let below = y + PAD_TOP - ky;
        let out_y = below / STRIDE_Y;
        if (out_y >= OUT_HEIGHT || below % STRIDE_Y != 0u) {
            continue;
        }
        for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
            let beside = x + PAD_LEFT - kx;
            let out_x = beside / STRIDE_X;
            if (out_x >= OUT_WIDTH || beside % STRIDE_X != 0u) {
                continue;
            }
            let at = ((image * OUT_HEIGHT + out_y) * OUT_WIDTH + out_x) * CHANNELS + channel;
            let weight = weights[(ky * KERNEL_WIDTH + kx) * CHANNELS + channel];
            sum = fma(f32(output_gradients[at]), weight, sum);
        }
    }
    input_gradients[index] = Element(sum);
}
