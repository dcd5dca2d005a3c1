// The derivative of a dense layer by its weights as a product of matrices, a tile of it per
// workgroup.
//
// Reads input and output_gradients; writes weight_gradients, or adds to them. All are taken four
// at once.
// Dispatch: one workgroup per (8 * ROWS inputs, 4 * COLUMNS outputs), the outputs fastest, in one
// dimension folded into two.
// The inner sum runs over the images, 16 at a time. Neighbouring invocations load neighbouring
// vectors into workgroup memory, where every input serves a row of invocations and every gradient
// a column of them; an invocation keeps 8 inputs x 4 outputs in registers. The next 16 are fetched
// while these are multiplied. Needs inputs and outputs in multiples of 4.
// Invocation (x, y): inputs 4y | .. | 4y + 3, 4 * (y + ROWS) | ..  x  outputs 4x | .. | 4x + 3.

@group(0) @binding(0) var<storage, read> input: array<vec4<Element>>;
@group(0) @binding(1) var<storage, read> output_gradients: array<vec4<Element>>;
@group(0) @binding(2) var<storage, read_write> weight_gradients: array<vec4f>;

override OUTPUT_TILES: u32 = (OUTPUT_VECTORS + COLUMNS - 1u) / COLUMNS;

// Four inputs of an image; 0 past the end of either.
fn fetch_input(image: u32, vector: u32) -> vec4f {
    let inside = image < step.images && vector < INPUT_VECTORS;
    let at = image * INPUT_VECTORS + vector;
    return select(vec4f(), vec4f(input[select(0u, at, inside)]), inside);
}

// The gradients of four outputs of an image; 0 past the end of either.
fn fetch_gradient(image: u32, vector: u32) -> vec4f {
    let inside = image < step.images && vector < OUTPUT_VECTORS;
    let at = image * OUTPUT_VECTORS + vector;
    return select(vec4f(), vec4f(output_gradients[select(0u, at, inside)]), inside);
}

// An invocation's share of 16 images: a vector of the inputs of every `ROW_STEP`th, and one of the
// gradients of every `ROWS`th.
fn fetch(first: u32, local_index: u32, first_input: u32, vector: u32) -> Terms {
    var fetched: Terms;
    let input_vector = first_input + local_index % TILE_VECTORS;
    let image = first + local_index / TILE_VECTORS;
    fetched.r0 = fetch_input(image, input_vector);
    fetched.r1 = fetch_input(image + ROW_STEP, input_vector);
    let gradients_at = first + local_index / COLUMNS;
    fetched.c0 = fetch_gradient(gradients_at, vector);
    fetched.c1 = fetch_gradient(gradients_at + ROWS, vector);
    if (ROWS < 8u) {
        fetched.c2 = fetch_gradient(gradients_at + 2u * ROWS, vector);
        fetched.c3 = fetch_gradient(gradients_at + 3u * ROWS, vector);
    }
    return fetched;
}

fn store_row(at: u32, sums: vec4f) {
    var total = GRADIENT_UNIT * sums;
    if (step.accumulate != 0u) {
        total += weight_gradients[at];
    }
    weight_gradients[at] = total;
}

fn store(input_vector: u32, vector: u32, sums: mat4x4f) {
    if (input_vector >= INPUT_VECTORS || vector >= OUTPUT_VECTORS) {
        return;
    }
    let at = input_vector * 4u * OUTPUT_VECTORS + vector;
    store_row(at, sums[0]);
    store_row(at + OUTPUT_VECTORS, sums[1]);
    store_row(at + 2u * OUTPUT_VECTORS, sums[2]);
    store_row(at + 3u * OUTPUT_VECTORS, sums[3]);
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
    let vector = group % OUTPUT_TILES * COLUMNS + local_id.x;
    let first_input = group / OUTPUT_TILES * TILE_VECTORS;
    var sums0 = mat4x4f();
    var sums1 = mat4x4f();
    // Each turn loads some and multiplies those of the turn before.
    for (var first = 0u; first < step.images + 16u; first += 16u) {
        let fetched = fetch(first, local_index, first_input, vector);
        if (first > 0u) {
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
    store(first_input + local_id.y, vector, sums0);
    store(first_input + local_id.y + ROWS, vector, sums1);
}
