// The derivative of a convolution by its input, a row at a time.
//
// Reads output_gradients and weights; writes input_gradients. All are taken four channels at once.
// Dispatch: one invocation per (image, input row, segment of the row, 4 input channels), the
// channels fastest, in one dimension folded into two.
// This is a convolution with the taps in reverse, and is tiled like the forward pass: up to 12
// neighbouring positions x 4 channels in registers, up to 16 loaded gradients for 5 taps x 12
// positions. Neighbouring invocations load the same gradients, and of the weights neighbouring
// rows that stay in the cache while the loop walks along them. Needs strides of 1, at most 5
// columns of taps, and channels in multiples of 4.
// An invocation: positions p | p + 1 | .. | p + 11 of a row  x  input channels c | .. | c + 3.

@group(0) @binding(0) var<storage, read> output_gradients: array<vec4<Element>>;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<vec4<Element>>;

// A row is cut into the fewest segments of at most 12 positions, and those are kept as short as
// covers the row: 3, 2 or 1 tiles of 4 positions.
override SEGMENTS: u32 = (IN_WIDTH + 11u) / 12u;
override TILES: u32 = (IN_WIDTH + 4u * SEGMENTS - 1u) / (4u * SEGMENTS);
override WINDOW_COLUMNS: u32 = 4u * TILES + KERNEL_WIDTH - 1u;

// Four output channels, `ahead` columns into the window of the segment; 0 outside the image.
// Without a branch, so that a window's loads can all be under way at once.
fn fetch_gradient(row: u32, first: u32, ahead: u32, vector: u32) -> vec4f {
    let x = first + ahead;
    if (ahead >= WINDOW_COLUMNS) {
        return vec4f();
    }
    let at = (row * OUT_WIDTH + min(x, OUT_WIDTH - 1u)) * OUT_VECTORS + vector;
    return select(vec4f(), vec4f(output_gradients[at]), x < OUT_WIDTH);
}

// The weights of one tap: 4 output channels (columns) x 4 input channels.
fn fetch_weights(at: u32) -> mat4x4f {
    return transpose(mat4x4f(
        weights[at],
        weights[at + OUT_VECTORS],
        weights[at + 2u * OUT_VECTORS],
        weights[at + 3u * OUT_VECTORS],
    ));
}

fn store(row: u32, x: u32, vector: u32, sums: mat4x4f) {
    let at = (row * IN_WIDTH + x) * IN_VECTORS + vector;
    if (x < IN_WIDTH) { input_gradients[at] = vec4<Element>(sums[0]); }
    if (x + 1u < IN_WIDTH) { input_gradients[at + IN_VECTORS] = vec4<Element>(sums[1]); }
    if (x + 2u < IN_WIDTH) { input_gradients[at + 2u * IN_VECTORS] = vec4<Element>(sums[2]); }
    if (x + 3u < IN_WIDTH) { input_gradients[at + 3u * IN_VECTORS] = vec4<Element>(sums[3]); }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 64u);
    let in_vector = index % IN_VECTORS;
    let segment = index / IN_VECTORS % SEGMENTS;
    let in_row = index / IN_VECTORS / SEGMENTS;
    if (in_row >= step.images * IN_HEIGHT) {
        return;
    }
    let image = in_row / IN_HEIGHT;
    let in_x = segment * 4u * TILES;
    // The last column of taps meets the window's first column.
    let first = in_x + PAD_LEFT + 1u - KERNEL_WIDTH;
    var sums0 = mat4x4f();
    var sums1 = mat4x4f();
    var sums2 = mat4x4f();
    for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
        let y = in_row % IN_HEIGHT + PAD_TOP - ky;
        if (y >= OUT_HEIGHT) {
            continue;
        }
        let row = image * OUT_HEIGHT + y;
        for (var vector = 0u; vector < OUT_VECTORS; vector++) {
            let g0 = fetch_gradient(row, first, 0u, vector);
            let g1 = fetch_gradient(row, first, 1u, vector);
            let g2 = fetch_gradient(row, first, 2u, vector);
            let g3 = fetch_gradient(row, first, 3u, vector);
            let g4 = fetch_gradient(row, first, 4u, vector);
            let g5 = fetch_gradient(row, first, 5u, vector);
            let g6 = fetch_gradient(row, first, 6u, vector);
            let g7 = fetch_gradient(row, first, 7u, vector);
            let g8 = fetch_gradient(row, first, 8u, vector);
            let g9 = fetch_gradient(row, first, 9u, vector);
            let g10 = fetch_gradient(row, first, 10u, vector);
            let g11 = fetch_gradient(row, first, 11u, vector);
            let g12 = fetch_gradient(row, first, 12u, vector);
            let g13 = fetch_gradient(row, first, 13u, vector);
            let g14 = fetch_gradient(row, first, 14u, vector);
            let g15 = fetch_gradient(row, first, 15u, vector);
            let tap = IN_CHANNELS * OUT_VECTORS;
            let at = (ky * KERNEL_WIDTH + KERNEL_WIDTH - 1u) * tap + in_vector * 4u * OUT_VECTORS + vector;
            let w0 = fetch_weights(at);
            sums0 = add_columns(sums0, w0, g0, g1, g2, g3);
            if (TILES > 1u) { sums1 = add_columns(sums1, w0, g4, g5, g6, g7); }
            if (TILES > 2u) { sums2 = add_columns(sums2, w0, g8, g9, g10, g11); }
            if (KERNEL_WIDTH > 1u) {
                let w1 = fetch_weights(at - tap);
                sums0 = add_columns(sums0, w1, g1, g2, g3, g4);
                if (TILES > 1u) { sums1 = add_columns(sums1, w1, g5, g6, g7, g8); }
                if (TILES > 2u) { sums2 = add_columns(sums2, w1, g9, g10, g11, g12); }
            }
            if (KERNEL_WIDTH > 2u) {
                let w2 = fetch_weights(at - 2u * tap);
                sums0 = add_columns(sums0, w2, g2, g3, g4, g5);
                if (TILES > 1u) { sums1 = add_columns(sums1, w2, g6, g7, g8, g9); }
                if (TILES > 2u) { sums2 = add_columns(sums2, w2, g10, g11, g12, g13); }
            }
            if (KERNEL_WIDTH > 3u) {
                let w3 = fetch_weights(at - 3u * tap);
                sums0 = add_columns(sums0, w3, g3, g4, g5, g6);
                if (TILES > 1u) { sums1 = add_columns(sums1, w3, g7, g8, g9, g10); }
                if (TILES > 2u) { sums2 = add_columns(sums2, w3, g11, g12, g13, g14); }
            }
            if (KERNEL_WIDTH > 4u) {
                let w4 = fetch_weights(at - 4u * tap);
                sums0 = add_columns(sums0, w4, g4, g5, g6, g7);
                if (TILES > 1u) { sums1 = add_columns(sums1, w4, g8, g9, g10, g11); }
                if (TILES > 2u) { sums2 = add_columns(sums2, w4, g12, g13, g14, g15); }
            }
        }
    }
    store(in_row, in_x, in_vector, sums0);
    if (TILES > 1u) { store(in_row, in_x + 4u, in_vector, sums1); }
    if (TILES > 2u) { store(in_row, in_x + 8u, in_vector, sums2); }
}
