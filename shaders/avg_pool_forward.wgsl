// The mean over windows of each channel; what lies outside the image does not count.
// Reads input, writes output, both [images, height, width, CHANNELS].
// Dispatch: one invocation per output element.

override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read_write> output: array<Element>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * OUT_HEIGHT * OUT_WIDTH * CHANNELS) {
        return;
    }
    let channel = index % CHANNELS;
    let out_x = index / CHANNELS % OUT_WIDTH;
    let out_y = index / (CHANNELS * OUT_WIDTH) % OUT_HEIGHT;
    let image = index / (CHANNELS * OUT_WIDTH * OUT_HEIGHT);

    // Rows and columns are counted from the padding's first.
    let top = max(out_y * STRIDE_Y, PAD_TOP);
    let left = max(out_x * STRIDE_X, PAD_LEFT);
    let bottom = min(out_y * STRIDE_Y + KERNEL_HEIGHT, IN_HEIGHT + PAD_TOP);
    let right = min(out_x * STRIDE_X + KERNEL_WIDTH, IN_WIDTH + PAD_LEFT);
    var sum = 0.0;
    var count = 0u;
    for (var row = top; row < bottom; row++) {
        let in_row = (image * IN_HEIGHT + row - PAD_TOP) * IN_WIDTH;
        for (var column = left; column < right; column++) {
            sum += f32(input[(in_row + column - PAD_LEFT) * CHANNELS + channel]);
            count++;
        }
    }
    output[index] = Element(sum / f32(max(count, 1u)));
}
