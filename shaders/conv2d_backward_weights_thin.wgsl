// The derivative of a convolution by its weights for few or odd input channels, a kernel row at a
// time.
//
// Reads input and output_gradients; writes one sum per split of the images to partials. Output
// channels are taken four at once, input channels one by one.
// Dispatch: one invocation per (split, kernel row, input channel, 4 output channels), the output
// channels fastest, in one dimension folded into two.
// An invocation keeps the gradients of a whole row of up to 5 taps x 4 output channels in
// registers and walks along the image rows 4 positions at a time: the 8 inputs that those taps
// meet are a sliding window, of which 4 are new. Neighbouring invocations load neighbouring
// gradients and the same inputs. Needs a horizontal stride of 1, at most 5 columns of taps, and
// output channels in multiples of 4.
// In long rows a split may have a quarter of a million positions before turns run out
// (CONTRIBUTING.md).
// An invocation: taps of a row  x  input channel i  x  output channels o | .. | o + 3.

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<vec4<Element>>;
@group(0) @binding(2) var<storage, read_write> partials: array<vec4f>;

// One input; 0 outside the image.
// Without a branch, so that a window's loads can all be under way at once.
fn fetch_input(row: u32, x: u32, channel: u32) -> f32 {
    let at = (row * IN_WIDTH + min(x, IN_WIDTH - 1u)) * IN_CHANNELS + channel;
    return select(0.0, f32(input[at]), x < IN_WIDTH);
}

// Four output channels; 0 past the end of the row.
fn fetch_gradient(row: u32, x: u32, vector: u32) -> vec4f {
    let at = (row * OUT_WIDTH + min(x, OUT_WIDTH - 1u)) * OUT_VECTORS + vector;
    return select(vec4f(), vec4f(output_gradients[at]), x < OUT_WIDTH);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 64u);
    let out_vector = index % OUT_VECTORS;
    let channel = index / OUT_VECTORS % IN_CHANNELS;
    let ky = index / OUT_VECTORS / IN_CHANNELS % KERNEL_HEIGHT;
    let split = index / OUT_VECTORS / IN_CHANNELS / KERNEL_HEIGHT;
    if (split >= SPLITS) {
        return;
    }
    let images = images_of(split, step.images);
    var sums0 = vec4f();
    var sums1 = vec4f();
    var sums2 = vec4f();
    var sums3 = vec4f();
    var sums4 = vec4f();
    for (var out_row = images.begin * OUT_HEIGHT; out_row < images.end * OUT_HEIGHT; out_row++) {
        let y = out_row % OUT_HEIGHT * STRIDE_Y + ky - PAD_TOP;
        if (y >= IN_HEIGHT) {
            continue;
        }
        let row = out_row / OUT_HEIGHT * IN_HEIGHT + y;
        var x0 = fetch_input(row, 0u - PAD_LEFT, channel);
        var x1 = fetch_input(row, 1u - PAD_LEFT, channel);
        var x2 = fetch_input(row, 2u - PAD_LEFT, channel);
        var x3 = fetch_input(row, 3u - PAD_LEFT, channel);
        for (var x = 0u; x < OUT_WIDTH; x += 4u) {
            let ahead = x + 4u - PAD_LEFT;
            let x4 = fetch_input(row, ahead, channel);
            let x5 = fetch_input(row, ahead + 1u, channel);
            let x6 = fetch_input(row, ahead + 2u, channel);
            let x7 = fetch_input(row, ahead + 3u, channel);
            let g0 = fetch_gradient(out_row, x, out_vector);
            let g1 = fetch_gradient(out_row, x + 1u, out_vector);
            let g2 = fetch_gradient(out_row, x + 2u, out_vector);
            let g3 = fetch_gradient(out_row, x + 3u, out_vector);
            sums0 = fma(g0, vec4(x0), sums0);
            sums0 = fma(g1, vec4(x1), sums0);
            sums0 = fma(g2, vec4(x2), sums0);
            sums0 = fma(g3, vec4(x3), sums0);
            if (KERNEL_WIDTH > 1u) {
                sums1 = fma(g0, vec4(x1), sums1);
                sums1 = fma(g1, vec4(x2), sums1);
                sums1 = fma(g2, vec4(x3), sums1);
                sums1 = fma(g3, vec4(x4), sums1);
            }
            if (KERNEL_WIDTH > 2u) {
                sums2 = fma(g0, vec4(x2), sums2);
                sums2 = fma(g1, vec4(x3), sums2);
                sums2 = fma(g2, vec4(x4), sums2);
                sums2 = fma(g3, vec4(x5), sums2);
            }
            if (KERNEL_WIDTH > 3u) {
                sums3 = fma(g0, vec4(x3), sums3);
                sums3 = fma(g1, vec4(x4), sums3);
                sums3 = fma(g2, vec4(x5), sums3);
                sums3 = fma(g3, vec4(x6), sums3);
            }
            if (KERNEL_WIDTH > 4u) {
                sums4 = fma(g0, vec4(x4), sums4);
                sums4 = fma(g1, vec4(x5), sums4);
                sums4 = fma(g2, vec4(x6), sums4);
                sums4 = fma(g3, vec4(x7), sums4);
            }
            x0 = x4;
            x1 = x5;
            x2 = x6;
            x3 = x7;
        }
    }
    let tap = IN_CHANNELS * OUT_VECTORS;
    let at = (split * KERNEL_HEIGHT + ky) * KERNEL_WIDTH * tap + channel * OUT_VECTORS + out_vector;
    partials[at] = GRADIENT_UNIT * sums0;
    if (KERNEL_WIDTH > 1u) { partials[at + tap] = GRADIENT_UNIT * sums1; }
    if (KERNEL_WIDTH > 2u) { partials[at + 2u * tap] = GRADIENT_UNIT * sums2; }
    if (KERNEL_WIDTH > 3u) { partials[at + 3u * tap] = GRADIENT_UNIT * sums3; }
    if (KERNEL_WIDTH > 4u) { partials[at + 4u * tap] = GRADIENT_UNIT * sums4; }
}
