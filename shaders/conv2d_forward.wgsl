// Convolution of NHWC images, a row of outputs at a time.
//
// Reads input, weights and biases; writes output. All are taken four channels at once.
// Dispatch: one invocation per (image, output row, segment of the row, 4 output channels), the
// channels fastest, in one dimension folded into two.
// An invocation keeps up to 12 neighbouring positions x 4 channels in registers. The taps of a
// kernel row overlap, so up to 16 loaded inputs serve 5 taps x 12 positions; neighbouring
// invocations load neighbouring weights and the same inputs. Needs a horizontal stride of 1, at
// most 5 columns of taps, and channels in multiples of 4.
// An invocation: positions p | p + 1 | .. | p + 11 of a row  x  output channels c | .. | c + 3.

@group(0) @binding(0) var<storage, read> input: array<vec4<Element>>;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>;
@group(0) @binding(2) var<storage, read> biases: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4<Element>>;

// A row is cut into the fewest segments of at most 12 positions, and those are kept as short as
// covers the row: 3, 2 or 1 tiles of 4 positions.
override SEGMENTS: u32 = (OUT_WIDTH + 11u) / 12u;
override TILES: u32 = (OUT_WIDTH + 4u * SEGMENTS - 1u) / (4u * SEGMENTS);
override WINDOW_COLUMNS: u32 = 4u * TILES + KERNEL_WIDTH - 1u;

// Four input channels, `ahead` columns into the window of the segment; 0 outside the image.
// Without a branch, so that a window's loads can all be under way at once.
fn fetch_input(row: u32, first: u32, ahead: u32, vector: u32) -> vec4f {
    let x = first + ahead;
    if (ahead >= WINDOW_COLUMNS) {
        return vec4f();
    }
    let at = (row * IN_WIDTH + min(x, IN_WIDTH - 1u)) * IN_VECTORS + vector;
    return select(vec4f(), vec4f(input[at]), x < IN_WIDTH);
}

// The weights of one tap: 4 input channels (columns) x 4 output channels.
fn fetch_weights(at: u32) -> mat4x4f {
    return mat4x4f(
        weights[at],
        weights[at + OUT_VECTORS],
        weights[at + 2u * OUT_VECTORS],
        weights[at + 3u * OUT_VECTORS],
    );
}

fn store(row: u32, x: u32, vector: u32, sums: mat4x4f) {
    let at = (row * OUT_WIDTH + x) * OUT_VECTORS + vector;
    if (x < OUT_WIDTH) { output[at] = vec4<Element>(sums[0]); }
    if (x + 1u < OUT_WIDTH) { output[at + OUT_VECTORS] = vec4<Element>(sums[1]); }
    if (x + 2u < OUT_WIDTH) { output[at + 2u * OUT_VECTORS] = vec4<Element>(sums[2]); }
    if (x + 3u < OUT_WIDTH) { output[at + 3u * OUT_VECTORS] = vec4<Element>(sums[3]); }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 64u);
    let out_vector = index % OUT_VECTORS;
    let segment = index / OUT_VECTORS % SEGMENTS;
    let out_row = index / OUT_VECTORS / SEGMENTS;
    if (out_row >= step.images * OUT_HEIGHT) {
        return;
    }
    let image = out_row / OUT_HEIGHT;
    let out_x = segment * 4u * TILES;
    let first = out_x - PAD_LEFT;
    let bias = biases[out_vector];
    var sums0 = mat4x4f(bias, bias, bias, bias);
    var sums1 = sums0;
    var sums2 = sums0;
    for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
        let y = out_row % OUT_HEIGHT * STRIDE_Y + ky - PAD_TOP;
        if (y >= IN_HEIGHT) {
            continue;
        }
        let row = image * IN_HEIGHT + y;
        for (var vector = 0u; vector < IN_VECTORS; vector++) {
            let x0 = fetch_input(row, first, 0u, vector);
            let x1 = fetch_input(row, first, 1u, vector);
            let x2 = fetch_input(row, first, 2u, vector);
            let x3 = fetch_input(row, first, 3u, vector);
            let x4 = fetch_input(row, first, 4u, vector);
            let x5 = fetch_input(row, first, 5u, vector);
            let x6 = fetch_input(row, first, 6u, vector);
            let x7 = fetch_input(row, first, 7u, vector);
            let x8 = fetch_input(row, first, 8u, vector);
            let x9 = fetch_input(row, first, 9u, vector);
            let x10 = fetch_input(row, first, 10u, vector);
            let x11 = fetch_input(row, first, 11u, vector);
            let x12 = fetch_input(row, first, 12u, vector);
            let x13 = fetch_input(row, first, 13u, vector);
            let x14 = fetch_input(row, first, 14u, vector);
            let x15 = fetch_input(row, first, 15u, vector);
            let at = (ky * KERNEL_WIDTH * IN_CHANNELS + vector * 4u) * OUT_VECTORS + out_vector;
            let tap = IN_CHANNELS * OUT_VECTORS;
            let w0 = fetch_weights(at);
            sums0 = add_columns(sums0, w0, x0, x1, x2, x3);
            if (TILES > 1u) { sums1 = add_columns(sums1, w0, x4, x5, x6, x7); }
            if (TILES > 2u) { sums2 = add_columns(sums2, w0, x8, x9, x10, x11); }
            if (KERNEL_WIDTH > 1u) {
                let w1 = fetch_weights(at + tap);
                sums0 = add_columns(sums0, w1, x1, x2, x3, x4);
                if (TILES > 1u) { sums1 = add_columns(sums1, w1, x5, x6, x7, x8); }
                if (TILES > 2u) { sums2 = add_columns(sums2, w1, x9, x10, x11, x12); }
            }
            if (KERNEL_WIDTH > 2u) {
                let w2 = fetch_weights(at + 2u * tap);
                sums0 = add_columns(sums0, w2, x2, x3, x4, x5);
                if (TILES > 1u) { sums1 = add_columns(sums1, w2, x6, x7, x8, x9); }
                if (TILES > 2u) { sums2 = add_columns(sums2, w2, x10, x11, x12, x13); }
            }
            if (KERNEL_WIDTH > 3u) {
                let w3 = fetch_weights(at + 3u * tap);
                sums0 = add_columns(sums0, w3, x3, x4, x5, x6);
                if (TILES > 1u) { sums1 = add_columns(sums1, w3, x7, x8, x9, x10); }
                if (TILES > 2u) { sums2 = add_columns(sums2, w3, x11, x12, x13, x14); }
            }
            if (KERNEL_WIDTH > 4u) {
                let w4 = fetch_weights(at + 4u * tap);
                sums0 = add_columns(sums0, w4, x4, x5, x6, x7);
                if (TILES > 1u) { sums1 = add_columns(sums1, w4, x8, x9, x10, x11); }
                if (TILES > 2u) { sums2 = add_columns(sums2, w4, x12, x13, x14, x15); }
            }
        }
    }
    store(out_row, out_x, out_vector, sums0);
    if (TILES > 1u) { store(out_row, out_x + 4u, out_vector, sums1); }
    if (TILES > 2u) { store(out_row, out_x + 8u, out_vector, sums2); }
}
