// The derivative of average pooling: each gradient goes in equal shares to the pixels of its window
// that lie inside the image.
// Reads output_gradients, writes input_gradients. Each input element looks at the windows over it, so
// that nothing is scattered and the order of every sum is fixed.
// Dispatch: one invocation per input element.

override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(1) var<storage, read_write> input_gradients: array<Element>;

// Positions of a window from `at` on that lie inside the image, counted from the padding's first.
fn inside(at: u32, window: u32, pad: u32, size: u32) -> u32 {
    return min(at + window, size + pad) - max(at, pad);
}

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
        if (y >= OUT_HEIGHT || row - y * STRIDE_Y >= KERNEL_HEIGHT) {
            continue;
        }
        let rows = inside(y * STRIDE_Y, KERNEL_HEIGHT, PAD_TOP, IN_HEIGHT);
        for (var back_x = 0u; back_x < WINDOWS_X; back_x++) {
            let x = column / STRIDE_X - back_x;
            if (x >= OUT_WIDTH || column - x * STRIDE_X >= KERNEL_WIDTH) {
                continue;
            }
            let columns = inside(x * STRIDE_X, KERNEL_WIDTH, PAD_LEFT, IN_WIDTH);
            let window = ((image * OUT_HEIGHT + y) * OUT_WIDTH + x) * CHANNELS + channel;
            sum += f32(output_gradients[window]) / f32(rows * columns);
        }
    }
    input_gradients[index] = Element(sum);
}
