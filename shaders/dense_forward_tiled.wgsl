// A dense layer as a product of matrices, a tile of it per workgroup.
//
// Reads input, weights and biases; writes output. All are taken four at once.
// Dispatch: one workgroup per (4 * ROWS images, 4 * COLUMNS outputs), the outputs fastest, in one
// dimension folded into two.
// The inner sum runs over the inputs, 32 at a time. Neighbouring invocations load neighbouring
// vectors into workgroup memory, where every input serves a row of invocations and every weight a
// column of them; the next 32 are fetched while these are multiplied. Small batches make few tiles,
// so the 32 are shared by 4 slices of invocations, each of which keeps 4 images x 4 outputs in
// registers; the slices are added in order. Needs inputs and outputs in multiples of 4.
// Invocation (x, y, z): images y | y + ROWS | .. | y + 3 * ROWS  x  outputs 4x | .. | 4x + 3.

@group(0) @binding(0) var<storage, read> input: array<vec4<Element>>;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>;
@group(0) @binding(2) var<storage, read> biases: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4<Element>>;

override OUTPUT_TILES: u32 = (OUTPUT_VECTORS + COLUMNS - 1u) / COLUMNS;

// Four inputs of an image; 0 past the end of either.
fn fetch_input(image: u32, vector: u32) -> vec4f {
    let inside = image < step.images && vector < INPUT_VECTORS;
    let at = image * INPUT_VECTORS + vector;
    return select(vec4f(), vec4f(input[select(0u, at, inside)]), inside);
}

// The weights from one input to four outputs; 0 past the end of either.
fn fetch_weights(at: u32, vector: u32) -> vec4f {
    let inside = at < INPUTS && vector < OUTPUT_VECTORS;
    return select(vec4f(), weights[select(0u, at * OUTPUT_VECTORS + vector, inside)], inside);
}

// An invocation's share of 32 inputs and weights: a vector of one image, and one column of every
// `4 * ROWS`th row of weights.
struct Fetched { x: vec4f, w0: vec4f, w1: vec4f }

fn fetch(first: u32, local_index: u32, first_image: u32, first_vector: u32) -> Fetched {
    var fetched: Fetched;
    fetched.x = fetch_input(first_image + local_index / 8u, first / 4u + local_index % 8u);
    let at = first + local_index / COLUMNS;
    let vector = first_vector + local_index % COLUMNS;
    fetched.w0 = fetch_weights(at, vector);
    if (ROWS < 8u) {
        fetched.w1 = fetch_weights(at + 4u * ROWS, vector);
    }
    return fetched;
}

fn stage(fetched: Fetched, local_index: u32) {
    staged_rows[local_index / 8u][local_index % 8u] = fetched.x;
    staged_columns[local_index % COLUMNS][local_index / COLUMNS] = fetched.w0;
    if (ROWS < 8u) {
        staged_columns[local_index % COLUMNS][local_index / COLUMNS + 4u * ROWS] = fetched.w1;
    }
}

fn store(image: u32, vector: u32, sum: vec4f) {
    if (image < step.images && vector < OUTPUT_VECTORS) {
        output[image * OUTPUT_VECTORS + vector] = vec4<Element>(sum + biases[vector]);
    }
}

@compute @workgroup_size(COLUMNS, ROWS, SLICES)
fn main(
    @builtin(workgroup_id) group_id: vec3u,
    @builtin(num_workgroups) group_count: vec3u,
    @builtin(local_invocation_id) local_id: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let group = linear_group(group_id, group_count);
    let first_image = group / OUTPUT_TILES * TILE_ROWS;
    let first_vector = group % OUTPUT_TILES * COLUMNS;
    var sums = mat4x4f();
    // Each turn loads some and multiplies those of the turn before.
    for (var first = 0u; first < INPUTS + 32u; first += 32u) {
        let fetched = fetch(first, local_index, first_image, first_vector);
        if (first > 0u) {
            for (var vector = local_id.z; vector < 8u; vector += SLICES) {
                let w = column_terms(local_id.x, vector);
                sums = mat4x4f(
                    add_column(sums[0], w, staged_rows[local_id.y][vector]),
                    add_column(sums[1], w, staged_rows[local_id.y + ROWS][vector]),
                    add_column(sums[2], w, staged_rows[local_id.y + 2u * ROWS][vector]),
                    add_column(sums[3], w, staged_rows[local_id.y + 3u * ROWS][vector]),
                );
            }
        }
        workgroupBarrier();
        stage(fetched, local_index);
        workgroupBarrier();
    }
    sums = sum_of_slices(sums, local_id);
    if (local_id.z == 0u) {
        let image = first_image + local_id.y;
        let vector = first_vector + local_id.x;
        store(image, vector, sums[0]);
        store(image + ROWS, vector, sums[1]);
        store(image + 2u * ROWS, vector, sums[2]);
        store(image + 3u * ROWS, vector, sums[3]);
    }
}
