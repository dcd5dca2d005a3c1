// The derivative of a dense layer by its input as a product of matrices, a tile of it per
// workgroup.
//
// Reads output_gradients and weights; writes input_gradients. All are taken four at once.
// Dispatch: one workgroup per (4 * ROWS images, 4 * COLUMNS inputs), the inputs fastest, in one
// dimension folded into two.
// The inner sum runs over the outputs, 32 at a time. Neighbouring invocations load neighbouring
// vectors into workgroup memory, where every gradient serves a row of invocations and every weight
// a column of them; the next 32 are fetched while these are multiplied. Rows of weights run along
// the outputs, so they are turned on their way. Small batches make few tiles, so the 32 are shared
// by 4 slices of invocations, each of which keeps 4 images x 4 inputs in registers; the slices are
// added in order. Needs inputs and outputs in multiples of 4.
// Invocation (x, y, z): images y | y + ROWS | .. | y + 3 * ROWS  x  inputs 4x | .. | 4x + 3.

@group(0) @binding(0) var<storage, read> output_gradients: array<vec4<Element>>;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<vec4<Element>>;

override INPUT_TILES: u32 = (INPUT_VECTORS + COLUMNS - 1u) / COLUMNS;

// Four gradients of an image; 0 past the end of either.
fn fetch_gradient(image: u32, vector: u32) -> vec4f {
    let inside = image < step.images && vector < OUTPUT_VECTORS;
    let at = image * OUTPUT_VECTORS + vector;
    return select(vec4f(), vec4f(output_gradients[select(0u, at, inside)]), inside);
}

// The weights from four gradients back to one input; 0 past the end of either.
fn fetch_row(vector: u32, input: u32) -> vec4f {
    let inside = vector < OUTPUT_VECTORS && input < INPUTS;
    return select(vec4f(), weights[select(0u, input * OUTPUT_VECTORS + vector, inside)], inside);
}

// An invocation's share of 32 gradients and weights: a vector of one image, and of the first 64
// invocations 4 x 4 weights each.
struct Fetched { g: vec4f, w: mat4x4f }

fn fetch(first: u32, local_index: u32, first_image: u32, first_vector: u32) -> Fetched {
    var fetched: Fetched;
    let vector = first / 4u + local_index % 8u;
    fetched.g = fetch_gradient(first_image + local_index / 8u, vector);
    if (local_index < 8u * COLUMNS) {
        let input = 4u * (first_vector + local_index / 8u);
        fetched.w = transpose(mat4x4f(
            fetch_row(vector, input),
            fetch_row(vector, input + 1u),
            fetch_row(vector, input + 2u),
            fetch_row(vector, input + 3u),
        ));
    }
    return fetched;
}

fn stage(fetched: Fetched, local_index: u32) {
    let row = local_index / 8u;
    let vector = local_index % 8u;
    staged_rows[row][vector] = fetched.g;
    if (local_index < 8u * COLUMNS) {
        staged_columns[row][4u * vector] = fetched.w[0];
        staged_columns[row][4u * vector + 1u] = fetched.w[1];
        staged_columns[row][4u * vector + 2u] = fetched.w[2];
        staged_columns[row][4u * vector + 3u] = fetched.w[3];
    }
}

fn store(image: u32, vector: u32, sum: vec4f) {
    if (image < step.images && vector < INPUT_VECTORS) {
        input_gradients[image * INPUT_VECTORS + vector] = vec4<Element>(sum);
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
    let first_image = group / INPUT_TILES * TILE_ROWS;
    let first_vector = group % INPUT_TILES * COLUMNS;
    var sums = mat4x4f();
    // Each turn loads some and multiplies those of the turn before.
    for (var first = 0u; first < OUTPUTS + 32u; first += 32u) {
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
