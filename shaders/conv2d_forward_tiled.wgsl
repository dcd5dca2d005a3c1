// Convolution of NHWC images as a product of matrices, a tile of it per workgroup.
//
// Reads input, weights and biases; writes output. All are taken four channels at once.
// Dispatch: one workgroup per (8 * ROWS positions, 4 * COLUMNS output channels), the channels
// fastest, in one dimension folded into two.
// The rows of the product are positions, its columns output channels, and the inner sum runs over
// the patch of inputs that a position sees, 16 at a time. Neighbouring invocations load
// neighbouring vectors into workgroup memory, where every input serves a row of invocations and
// every weight a column of them; an invocation keeps 8 positions x 4 channels in registers. The
// next 16 are fetched while these are multiplied. Needs channels in multiples of 4.
// Invocation (x, y): positions y | y + ROWS | .. | y + 7 * ROWS  x  channels 4x | .. | 4x + 3.

@group(0) @binding(0) var<storage, read> input: array<vec4<Element>>;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>;
@group(0) @binding(2) var<storage, read> biases: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4<Element>>;

override PATCH: u32 = KERNEL_HEIGHT * KERNEL_WIDTH * IN_CHANNELS;
override CHANNEL_TILES: u32 = (OUT_VECTORS + COLUMNS - 1u) / COLUMNS;
override POSITIONS: u32 = OUT_HEIGHT * OUT_WIDTH;

// Where each position's patch begins: the first row of its image, and a row and a column there.
var<workgroup> corners: array<vec3u, TILE_ROWS>;

// Rows and columns before the image wrap around to very large ones.
fn corner(position: u32) -> vec3u {
    let image = position / POSITIONS;
    let y = position / OUT_WIDTH % OUT_HEIGHT * STRIDE_Y - PAD_TOP;
    let x = position % OUT_WIDTH * STRIDE_X - PAD_LEFT;
    // Positions past the end see nothing.
    return vec3(image * IN_HEIGHT, select(0x80000000u, y, image < step.images), x);
}

// Four inputs of a patch; 0 outside the image and past the end of the patch.
fn fetch_input(row: u32, vector: u32) -> vec4f {
    let tap = vector / IN_VECTORS;
    let origin = corners[row];
    let y = origin.y + tap / KERNEL_WIDTH;
    let x = origin.z + tap % KERNEL_WIDTH;
    let inside = tap < KERNEL_HEIGHT * KERNEL_WIDTH && y < IN_HEIGHT && x < IN_WIDTH;
    let at = ((origin.x + y) * IN_WIDTH + x) * IN_VECTORS + vector % IN_VECTORS;
    return select(vec4f(), vec4f(input[select(0u, at, inside)]), inside);
}

// The weights from one input of a patch to four channels; 0 past the end of either.
fn fetch_weights(at: u32, vector: u32) -> vec4f {
    let inside = at < PATCH && vector < OUT_VECTORS;
    return select(vec4f(), weights[select(0u, at * OUT_VECTORS + vector, inside)], inside);
}

// An invocation's share of 16 inputs and weights.
struct Fetched { x0: vec4f, x1: vec4f, x2: vec4f, x3: vec4f, w0: vec4f, w1: vec4f, w2: vec4f, w3: vec4f }

// Which of the 16 they are: an invocation loads one vector of every `ROW_STEP`th row of inputs,
// and one column of every `ROWS`th row of weights.
fn fetch(first: u32, local_index: u32, vector: u32) -> Fetched {
    var fetched: Fetched;
    let row = local_index / 4u;
    let inputs_at = first / 4u + local_index % 4u;
    fetched.x0 = fetch_input(row, inputs_at);
    fetched.x1 = fetch_input(row + ROW_STEP, inputs_at);
    if (COLUMNS < 16u) {
        fetched.x2 = fetch_input(row + 2u * ROW_STEP, inputs_at);
        fetched.x3 = fetch_input(row + 3u * ROW_STEP, inputs_at);
    }
    let weights_at = first + local_index / COLUMNS;
    fetched.w0 = fetch_weights(weights_at, vector);
    if (ROWS < 16u) {
        fetched.w1 = fetch_weights(weights_at + ROWS, vector);
    }
    if (ROWS < 8u) {
        fetched.w2 = fetch_weights(weights_at + 2u * ROWS, vector);
        fetched.w3 = fetch_weights(weights_at + 3u * ROWS, vector);
    }
    return fetched;
}

fn store(position: u32, vector: u32, sum: vec4f) {
    if (position < step.images * POSITIONS && vector < OUT_VECTORS) {
        output[position * OUT_VECTORS + vector] = vec4<Element>(sum);
    }
}

@compute @workgroup_size(COLUMNS, ROWS)
fn main(
    @builtin(workgroup_id) group_id: vec3u,
    @builtin(num_workgroups) group_count: vec3u,
    @builtin(local_invocation_id) local_id: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let group = linear_group(group_id, group_count);
    let first_position = group / CHANNEL_TILES * TILE_ROWS;
    // An invocation's column: that of the weights it loads, and of the sums it keeps.
    let vector = group % CHANNEL_TILES * COLUMNS + local_id.x;
    if (local_index < TILE_ROWS) {
        corners[local_index] = corner(first_position + local_index);
    }
    workgroupBarrier();
    let bias = biases[min(vector, OUT_VECTORS - 1u)];
    var sums0 = bias;
    var sums1 = bias;
    var sums2 = bias;
    var sums3 = bias;
    var sums4 = bias;
    var sums5 = bias;
    var sums6 = bias;
    var sums7 = bias;
    // Each turn loads some and multiplies those of the turn before.
    for (var first = 0u; first < PATCH + 16u; first += 16u) {
        let fetched = fetch(first, local_index, vector);
        if (first > 0u) {
            for (var four = 0u; four < 4u; four++) {
                let w = column_terms(local_id.x, four);
                sums0 = add_column(sums0, w, staged_rows[local_id.y][four]);
                sums1 = add_column(sums1, w, staged_rows[local_id.y + ROWS][four]);
                sums2 = add_column(sums2, w, staged_rows[local_id.y + 2u * ROWS][four]);
                sums3 = add_column(sums3, w, staged_rows[local_id.y + 3u * ROWS][four]);
                sums4 = add_column(sums4, w, staged_rows[local_id.y + 4u * ROWS][four]);
                sums5 = add_column(sums5, w, staged_rows[local_id.y + 5u * ROWS][four]);
                sums6 = add_column(sums6, w, staged_rows[local_id.y + 6u * ROWS][four]);
                sums7 = add_column(sums7, w, staged_rows[local_id.y + 7u * ROWS][four]);
            }
        }
        workgroupBarrier();
        stage_rows(local_index, fetched.x0, fetched.x1, fetched.x2, fetched.x3);
        stage_columns(local_index, fetched.w0, fetched.w1, fetched.w2, fetched.w3);
        workgroupBarrier();
    }
    let position = first_position + local_id.y;
    store(position, vector, sums0);
    store(position + ROWS, vector, sums1);
    store(position + 2u * ROWS, vector, sums2);
    store(position + 3u * ROWS, vector, sums3);
    store(position + 4u * ROWS, vector, sums4);
    store(position + 5u * ROWS, vector, sums5);
    store(position + 6u * ROWS, vector, sums6);
    store(position + 7u * ROWS, vector, sums7);
}
