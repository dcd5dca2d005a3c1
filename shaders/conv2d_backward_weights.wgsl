// The derivative of a convolution by its weights, a kernel row at a time.
//
// Reads input and output_gradients; writes one sum per split of the images to partials. All are
// taken four channels at once.
// Dispatch: one invocation per (split, kernel row, 4 input channels, 4 output channels), the
// output channels fastest, in one dimension folded into two.
// An invocation keeps the gradients of a whole row of up to 5 taps x 4 x 4 channels in registers
// and walks along the image rows 4 positions at a time: the 8 inputs that those taps meet are a
// sliding window, of which 4 are new. Neighbouring invocations load neighbouring gradients and
// the same inputs. Needs a horizontal stride of 1, at most 5 columns of taps, and channels in
// multiples of 4.
// In long rows a split may have a quarter of a million positions before turns run out
// (CONTRIBUTING.md).
// An invocation: taps of a row  x  input channels i | .. | i + 3  x  output channels o | .. | o + 3.

@group(0) @binding(0) var<storage, read> input: array<vec4<Element>>;
@group(0) @binding(1) var<storage, read> output_gradients: array<vec4<Element>>;
@group(0) @binding(2) var<storage, read_write> partials: array<vec4f>;

// Four input channels; 0 outside the image.
// Without a branch, so that a window's loads can all be under way at once.
fn fetch_input(row: u32, x: u32, vector: u32) -> vec4f {
    let at = (row * IN_WIDTH + min(x, IN_WIDTH - 1u)) * IN_VECTORS + vector;
    return select(vec4f(), vec4f(input[at]), x < IN_WIDTH);
}

// Four output channels; 0 past the end of the row.
fn fetch_gradient(row: u32, x: u32, vector: u32) -> vec4f {
    let at = (row * OUT_WIDTH + min(x, OUT_WIDTH - 1u)) * OUT_VECTORS + vector;
    return select(vec4f(), vec4f(output_gradients[at]), x < OUT_WIDTH);
}

fn store(at: u32, sums: mat4x4f) {
    partials[at] = GRADIENT_UNIT * sums[0];
    partials[at + OUT_VECTORS] = GRADIENT_UNIT * sums[1];
    partials[at + 2u * OUT_VECTORS] = GRADIENT_UNIT * sums[2];
    partials[at + 3u * OUT_VECTORS] = GRADIENT_UNIT * sums[3];
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 64u);
    let out_vector = index % OUT_VECTORS;
    let in_vector = index / OUT_VECTORS % IN_VECTORS;
    let ky = index / OUT_VECTORS / IN_VECTORS % KERNEL_HEIGHT;
    let split = index / OUT_VECTORS / IN_VECTORS / KERNEL_HEIGHT;
    if (split >= SPLITS) {
        return;
    }
    let images = images_of(split, step.images);
    var sums0 = mat4x4f();
    var sums1 = mat4x4f();
    var sums2 = mat4x4f();
    var sums3 = mat4x4f();
    var sums4 = mat4x4f();
    for (var out_row = images.begin * OUT_HEIGHT; out_row < images.end * OUT_HEIGHT; out_row++) {
        let y = out_row % OUT_HEIGHT * STRIDE_Y + ky - PAD_TOP;
        if (y >= IN_HEIGHT) {
            continue;
        }
        let row = out_row / OUT_HEIGHT * IN_HEIGHT + y;
        var x0 = fetch_input(row, 0u - PAD_LEFT, in_vector);
        var x1 = fetch_input(row, 1u - PAD_LEFT, in_vector);
        var x2 = fetch_input(row, 2u - PAD_LEFT, in_vector);
        var x3 = fetch_input(row, 3u - PAD_LEFT, in_vector);
        for (var x = 0u; x < OUT_WIDTH; x += 4u) {
            let ahead = x + 4u - PAD_LEFT;
            let x4 = fetch_input(row, ahead, in_vector);
            let x5 = fetch_input(row, ahead + 1u, in_vector);
            let x6 = fetch_input(row, ahead + 2u, in_vector);
            let x7 = fetch_input(row, ahead + 3u, in_vector);
            let g0 = fetch_gradient(out_row, x, out_vector);
            let g1 = fetch_gradient(out_row, x + 1u, out_vector);
            let g2 = fetch_gradient(out_row, x + 2u, out_vector);
            let g3 = fetch_gradient(out_row, x + 3u, out_vector);
            sums0 = add_outer(sums0, x0, g0);
            sums0 = add_outer(sums0, x1, g1);
            sums0 = add_outer(sums0, x2, g2);
            sums0 = add_outer(sums0, x3, g3);
            if (KERNEL_WIDTH > 1u) {
                sums1 = add_outer(sums1, x1, g0);
                sums1 = add_outer(sums1, x2, g1);
                sums1 = add_outer(sums1, x3, g2);
                sums1 = add_outer(sums1, x4, g3);
            }
            if (KERNEL_WIDTH > 2u) {
                sums2 = add_outer(sums2, x2, g0);
                sums2 = add_outer(sums2, x3, g1);
                sums2 = add_outer(sums2, x4, g2);
                sums2 = add_outer(sums2, x5, g3);
            }
            if (KERNEL_WIDTH > 3u) {
                sums3 = add_outer(sums3, x3, g0);
                sums3 = add_outer(sums3, x4, g1);
                sums3 = add_outer(sums3, x5, g2);
                sums3 = add_outer(sums3, x6, g3);
            }
            if (KERNEL_WIDTH > 4u) {
                sums4 = add_outer(sums4, x4, g0);
                sums4 = add_outer(sums4, x5, g1);
                sums4 = add_outer(sums4, x6, g2);
                sums4 = add_outer(sums4, x7, g3);
            }
            x0 = x4;
            x1 = x5;
            x2 = x6;
            x3 = x7;
        }
    }
    let tap = IN_CHANNELS * OUT_VECTORS;
    let at = (split * KERNEL_HEIGHT + ky) * KERNEL_WIDTH * tap + in_vector * 4u * OUT_VECTORS + out_vector;
    store(at, sums0);
    if (KERNEL_WIDTH > 1u) { store(at + tap, sums1); }
    if (KERNEL_WIDTH > 2u) { store(at + 2u * tap, sums2); }
    if (KERNEL_WIDTH > 3u) { store(at + 3u * tap, sums3); }
    if (KERNEL_WIDTH > 4u) { store(at + 4u * tap, sums4); }
}
