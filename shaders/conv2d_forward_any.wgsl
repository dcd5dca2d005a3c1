// Convolution of NHWC images for every stride, kernel and number of channels.
//
// Reads input, weights and biases; writes output.
// Dispatch: one invocation per element of the output, channels fastest, in one dimension folded
// into two.
// Untiled: neighbouring invocations load neighbouring weights and the same inputs.

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> biases: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 64u);
    let out_channel = index % OUT_CHANNELS;
    let out_x = index / OUT_CHANNELS % OUT_WIDTH;
    let out_y = index / OUT_CHANNELS / OUT_WIDTH % OUT_HEIGHT;
    let image = index / OUT_CHANNELS / OUT_WIDTH / OUT_HEIGHT;
    if (image >= step.images) {
        return;
    }
    var sum = biases[out_channel];
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
            let input_at = ((image * IN_HEIGHT + y) * IN_WIDTH + x) * IN_CHANNELS;
            let weights_at = (ky * KERNEL_WIDTH + kx) * IN_CHANNELS * OUT_CHANNELS + out_channel;
            for (var channel = 0u; channel < IN_CHANNELS; channel++) {
                sum = fma(f32(input[input_at + channel]), weights[weights_at + channel * OUT_CHANNELS], sum);
            }
        }
    }
    output[index] = Element(sum);
}
