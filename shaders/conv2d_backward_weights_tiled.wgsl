// The derivative of a convolution by its weights as products of matrices, a tile per workgroup.
//
// Reads input and output_gradients; writes one sum per split of the images to partials. All are
// taken four channels at once.
// Dispatch: one workgroup per (split, 8 * ROWS inputs of a patch, 4 * COLUMNS output channels), the
// channels fastest, in one dimension folded into two.
// The rows of a product are the inputs of the patch that a position sees, its columns output
// channels, and the inner sum runs over the positions of the split, 16 at a time. Neighbouring
// invocations load neighbouring vectors into workgroup memory, where every input serves a row of
// invocations and every gradient a column of them; an invocation keeps 8 inputs x 4 channels in
// registers. The next 16 are fetched while these are multiplied. Needs channels in multiples of 4.
// Invocation (x, y): inputs 4y | .. | 4y + 3, 4 * (y + ROWS) | ..  x  channels 4x | .. | 4x + 3.

@group(0) @binding(0) var<storage, read> input: array<vec4<Element>>;
@group(0) @binding(1) var<storage, read> output_gradients: array<vec4<Element>>;
@group(0) @binding(2) var<storage, read_write> partials: array<vec4f>;

override PATCH: u32 = KERNEL_HEIGHT * KERNEL_WIDTH * IN_CHANNELS;
override PATCH_TILES: u32 = (PATCH + 8u * ROWS - 1u) / (8u * ROWS);
override CHANNEL_TILES: u32 = (OUT_VECTORS + COLUMNS - 1u) / COLUMNS;
override POSITIONS: u32 = OUT_HEIGHT * OUT_WIDTH;

// Four inputs of a position's patch; 0 outside the image, and past the end of patch and split.
fn fetch_input(position: u32, end: u32, vector: u32) -> vec4f {
    let tap = vector / IN_VECTORS;
    // Rows and columns before the image wrap around to very large ones.
    let y = position / OUT_WIDTH % OUT_HEIGHT * STRIDE_Y + tap / KERNEL_WIDTH - PAD_TOP;
    let x = position % OUT_WIDTH * STRIDE_X + tap % KERNEL_WIDTH - PAD_LEFT;
    let known = position < end && tap < KERNEL_HEIGHT * KERNEL_WIDTH;
    let inside = known && y < IN_HEIGHT && x < IN_WIDTH;
    let row = position / POSITIONS * IN_HEIGHT + y;
    let at = (row * IN_WIDTH + x) * IN_VECTORS + vector % IN_VECTORS;
    return select(vec4f(), vec4f(input[select(0u, at, inside)]), inside);
}

// The gradients of four channels of a position; 0 past the end of either.
fn fetch_gradient(position: u32, end: u32, vector: u32) -> vec4f {
    let inside = position < end && vector < OUT_VECTORS;
    let at = position * OUT_VECTORS + vector;
    return select(vec4f(), vec4f(output_gradients[select(0u, at, inside)]), inside);
}

// An invocation's share of 16 positions: a vector of the inputs of every `ROW_STEP`th, and one of the
// gradients of every `ROWS`th.
fn fetch(first: u32, end: u32, local_index: u32, first_input: u32, vector: u32) -> Terms {
    var fetched: Terms;
    let input_vector = first_input + local_index % TILE_VECTORS;
    let position = first + local_index / TILE_VECTORS;
    fetched.r0 = fetch_input(position, end, input_vector);
    fetched.r1 = fetch_input(position + ROW_STEP, end, input_vector);
    if (COLUMNS < 16u) {
        fetched.r2 = fetch_input(position + 2u * ROW_STEP, end, input_vector);
        fetched.r3 = fetch_input(position + 3u * ROW_STEP, end, input_vector);
    }
    let gradients_at = first + local_index / COLUMNS;
    fetched.c0 = fetch_gradient(gradients_at, end, vector);
    if (ROWS < 16u) {
        fetched.c1 = fetch_gradient(gradients_at + ROWS, end, vector);
    }
    if (ROWS < 8u) {
        fetched.c2 = fetch_gradient(gradients_at + 2u * ROWS, end, vector);
        fetched.c3 = fetch_gradient(gradients_at + 3u * ROWS, end, vector);
    }
    return fetched;
}

fn store(split: u32, input_vector: u32, vector: u32, sums: mat4x4f) {
    if (split >= SPLITS || 4u * input_vector >= PATCH || vector >= OUT_VECTORS) {
        return;
    }
    let at = (split * PATCH + 4u * input_vector) * OUT_VECTORS + vector;
    partials[at] = GRADIENT_UNIT * sums[0];
    partials[at + OUT_VECTORS] = GRADIENT_UNIT * sums[1];
    partials[at + 2u * OUT_VECTORS] = GRADIENT_UNIT * sums[2];
    partials[at + 3u * OUT_VECTORS] = GRADIENT_UNIT * sums[3];
}

@compute @workgroup_size(COLUMNS, ROWS)
fn main(
    @builtin(workgroup_id) group_id: vec3u,
    @builtin(num_workgroups) group_count: vec3u,
    @builtin(local_invocation_id) local_id: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let group = linear_group(group_id, group_count);
    // An invocation's column: that of the gradients it loads, and of the sums it keeps.
    let vector = group % CHANNEL_TILES * COLUMNS + local_id.x;
    let first_input = group / CHANNEL_TILES % PATCH_TILES * TILE_VECTORS;
    let split = group / CHANNEL_TILES / PATCH_TILES;
    let images = images_of(split, step.images);
    let begin = images.begin * POSITIONS;
    let end = images.end * POSITIONS;
    var sums0 = mat4x4f();
    var sums1 = mat4x4f();
    // Each turn loads some and multiplies those of the turn before.
    for (var first = begin; first < end + 16u; first += 16u) {
        let fetched = fetch(first, end, local_index, first_input, vector);
        if (first > begin) {
            for (var at = 0u; at < 16u; at += 4u) {
                let g0 = staged_columns[local_id.x][at];
                let g1 = staged_columns[local_id.x][at + 1u];
                let g2 = staged_columns[local_id.x][at + 2u];
                let g3 = staged_columns[local_id.x][at + 3u];
                sums0 = add_outer(sums0, staged_rows[local_id.y][at], g0);
                sums0 = add_outer(sums0, staged_rows[local_id.y][at + 1u], g1);
                sums0 = add_outer(sums0, staged_rows[local_id.y][at + 2u], g2);
                sums0 = add_outer(sums0, staged_rows[local_id.y][at + 3u], g3);
                sums1 = add_outer(sums1, staged_rows[local_id.y + ROWS][at], g0);
                sums1 = add_outer(sums1, staged_rows[local_id.y + ROWS][at + 1u], g1);
                sums1 = add_outer(sums1, staged_rows[local_id.y + ROWS][at + 2u], g2);
                sums1 = add_outer(sums1, staged_rows[local_id.y + ROWS][at + 3u], g3);
            }
        }
        workgroupBarrier();
        stage_terms(fetched, local_index);
        workgroupBarrier();
    }
    store(split, first_input + local_id.y, vector, sums0);
    store(split, first_input + local_id.y + ROWS, vector, sums1);
}
