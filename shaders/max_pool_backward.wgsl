// The derivative of max pooling: each gradient goes to the winner of its window.
// Reads output_gradients and winners, writes input_gradients. Each input element looks at the
// windows over it, so that nothing is scattered and the order of every sum is fixed.
// Dispatch: one invocation per input element.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, padding: u32 }

override IN_HEIGHT: u32;
override IN_WIDTH: u32;
override OUT_HEIGHT: u32;
override OUT_WIDTH: u32;
override CHANNELS: u32;
override KERNEL_HEIGHT: u32;
override KERNEL_WIDTH: u32;
override STRIDE_Y: u32;
override STRIDE_X: u32;
override PAD_TOP: u32;
override PAD_LEFT: u32;

@group(0) @binding(0) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(1) var<storage, read> winners: array<u32>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;
@group(1) @binding(0) var<uniform> step: Step;

// The first window that reaches a position counted from the padding's first.
fn first_window(position: u32, window: u32, stride: u32) -> u32 {
    if (position < window) {
        return 0u;
    }
    return (position - window) / stride + 1u;
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let at = id.x + id.y * groups.x * 256u;
    if (at >= step.images * IN_HEIGHT * IN_WIDTH * CHANNELS) {
        return;
    }
    let channel = at % CHANNELS;
    let column = at / CHANNELS % IN_WIDTH + PAD_LEFT;
    let row = at / (CHANNELS * IN_WIDTH) % IN_HEIGHT + PAD_TOP;
    let image = at / (CHANNELS * IN_WIDTH * IN_HEIGHT);

    let last_y = min(row / STRIDE_Y + 1u, OUT_HEIGHT);
    let last_x = min(column / STRIDE_X + 1u, OUT_WIDTH);
    var sum = 0.0;
    for (var y = first_window(row, KERNEL_HEIGHT, STRIDE_Y); y < last_y; y++) {
        for (var x = first_window(column, KERNEL_WIDTH, STRIDE_X); x < last_x; x++) {
            let source = ((image * OUT_HEIGHT + y) * OUT_WIDTH + x) * CHANNELS + channel;
            let here = (row - y * STRIDE_Y) * KERNEL_WIDTH + column - x * STRIDE_X;
            if (winners[source] == here) {
                sum += f32(output_gradients[source]);
            }
        }
    }
    input_gradients[at] = Element(sum);
}
