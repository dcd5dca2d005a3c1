// The maximum over windows of each channel; padding never competes.
// Reads input (height, width, channels), writes output and winners. A winner is the position
// ky * KERNEL_WIDTH + kx in the window of its first maximum in row-major order. What is no number
// wins over all that is before it, and stays: else it would go unnoticed.
// Dispatch: one invocation per output element.

override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read_write> output: array<Element>;
@group(0) @binding(2) var<storage, read_write> winners: array<u32>;

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

    // Beyond the window: what stands here if a window lies wholly in the padding.
    let none = KERNEL_HEIGHT * KERNEL_WIDTH;
    var winner = none;
    var best = 0.0;
    for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
        // Rows are counted from the padding's first.
        let row = out_y * STRIDE_Y + ky;
        if (row < PAD_TOP || row - PAD_TOP >= IN_HEIGHT) {
            continue;
        }
        let in_row = (image * IN_HEIGHT + row - PAD_TOP) * IN_WIDTH;
        for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
            let column = out_x * STRIDE_X + kx;
            if (column < PAD_LEFT || column - PAD_LEFT >= IN_WIDTH) {
                continue;
            }
            let x = f32(input[(in_row + column - PAD_LEFT) * CHANNELS + channel]);
            // By its bits: a driver may take for granted that there is none.
            let is_nan = (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
            if (winner == none || x > best || is_nan) {
                best = x;
                winner = ky * KERNEL_WIDTH + kx;
            }
        }
    }
    output[index] = Element(best);
    winners[index] = winner;
}
