// The derivative of max pooling: each gradient goes to the winner of its window.
// Reads output_gradients and winners, writes input_gradients. Each input element looks at the
// windows over it, so that nothing is scattered and the order of every sum is fixed.
// Dispatch: one invocation per input element.

override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(1) var<storage, read> winners: array<u32>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * IN_HEIGHT * IN_WIDTH * CHANNELS) {
        return;
    }
    let channel = index % CHANNELS;
    let column = index / CHANNELS % IN_WIDTH + PAD_LEFT;
    let row = index / (CHANNELS * IN_WIDTH) % IN_HEIGHT + PAD_TOP;
    let image = index / (CHANNELS * IN_WIDTH * IN_HEIGHT);

    var sum = 0.0;
    for (var back_y = 0u; back_y < WINDOWS_Y; back_y++) {
        // Windows before the first wrap around to very large numbers.
        let y = row / STRIDE_Y - back_y;
        let ky = row - y * STRIDE_Y;
        if (y >= OUT_HEIGHT || ky >= KERNEL_HEIGHT) {
            continue;
        }
        for (var back_x = 0u; back_x < WINDOWS_X; back_x++) {
            let x = column / STRIDE_X - back_x;
            let kx = column - x * STRIDE_X;
            if (x >= OUT_WIDTH || kx >= KERNEL_WIDTH) {
                continue;
            }
            let window = ((image * OUT_HEIGHT + y) * OUT_WIDTH + x) * CHANNELS + channel;
            if (winners[window] == ky * KERNEL_WIDTH + kx) {
                sum += f32(output_gradients[window]);
            }
        }
    }
    input_gradients[index] = Element(sum);
}
