// The derivative of a convolution by its input for every stride, kernel and number of channels.
//
// Reads output_gradients and weights; writes input_gradients.
// Dispatch: one invocation per element of the input, channels fastest, in one dimension folded
// into two.
// Untiled, and gathered rather than scattered, so that no two invocations write one element:
// neighbouring invocations load the same gradients and neighbouring rows of weights.

@group(0) @binding(0) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 64u);
    let in_channel = index % IN_CHANNELS;
    let in_x = index / IN_CHANNELS % IN_WIDTH;
    let in_y = index / IN_CHANNELS / IN_WIDTH % IN_HEIGHT;
    let image = index / IN_CHANNELS / IN_WIDTH / IN_HEIGHT;
    if (image >= step.images) {
        return;
    }
    var sum = 0.0;
    for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
        let from_top = in_y + PAD_TOP - ky;
        let y = from_top / STRIDE_Y;
        if (ky > in_y + PAD_TOP || from_top % STRIDE_Y != 0u || y >= OUT_HEIGHT) {
            continue;
        }
        for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
            let from_left = in_x + PAD_LEFT - kx;
            let x = from_left / STRIDE_X;
            if (kx > in_x + PAD_LEFT || from_left % STRIDE_X != 0u || x >= OUT_WIDTH) {
                continue;
            }
            let gradients_at = ((image * OUT_HEIGHT + y) * OUT_WIDTH + x) * OUT_CHANNELS;
            let weights_at = ((ky * KERNEL_WIDTH + kx) * IN_CHANNELS + in_channel) * OUT_CHANNELS;
            for (var channel = 0u; channel < OUT_CHANNELS; channel++) {
                sum = fma(f32(output_gradients[gradients_at + channel]), weights[weights_at + channel], sum);
            }
        }
    }
    input_gradients[index] = Element(sum);
}
