// Convolution of NHWC images with any number of channels as a product of matrices, a tile of it
// per workgroup.
//
// Reads input, weights and biases; writes output. All are taken one by one.
// Dispatch: one workgroup per (8 * ROWS positions, 4 * COLUMNS output channels), the channels
// fastest, in one dimension folded into two.
// The rows of the product are positions, its columns output channels, and the inner sum runs over
// the patch of inputs that a position sees, 16 at a time. Neighbouring invocations load
// neighbouring runs of 4 into workgroup memory, where every input serves a row of invocations and
// every weight a column of them; an invocation keeps 8 positions x 4 channels in registers. The
// next 16 are fetched while these are multiplied.
// Invocation (x, y): positions y | y + ROWS | .. | y + 7 * ROWS  x  channels 4x | .. | 4x + 3.

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> biases: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<Element>;

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

// The row, column and channel of an input of a patch; past the end, in a row outside any image.
fn term(at: u32) -> vec3u {
    let tap = at / IN_CHANNELS;
    let y = select(0x40000000u, tap / KERNEL_WIDTH, at < PATCH);
    return vec3(y, tap % KERNEL_WIDTH, at % IN_CHANNELS);
}

// One input of a patch; 0 outside the image.
fn fetch_input(origin: vec3u, term: vec3u) -> f32 {
    let y = origin.y + term.x;
    let x = origin.z + term.y;
    let inside = y < IN_HEIGHT && x < IN_WIDTH;
    let at = ((origin.x + y) * IN_WIDTH + x) * IN_CHANNELS + term.z;
    return select(0.0, f32(input[select(0u, at, inside)]), inside);
}

fn fetch_inputs(row: u32, a: vec3u, b: vec3u, c: vec3u, d: vec3u) -> vec4f {
    let origin = corners[row];
    return vec4(
        fetch_input(origin, a),
        fetch_input(origin, b),
        fetch_input(origin, c),
        fetch_input(origin, d),
    );
}

// The weight from one input of a patch to a channel; 0 past the end of either.
fn fetch_weight(at: u32, channel: u32) -> f32 {
    let inside = at < PATCH && channel < OUT_CHANNELS;
    return select(0.0, weights[select(0u, at * OUT_CHANNELS + channel, inside)], inside);
}

fn fetch_weights(at: u32, channel: u32) -> vec4f {
    return vec4(
        fetch_weight(at, channel),
        fetch_weight(at, channel + 1u),
        fetch_weight(at, channel + 2u),
        fetch_weight(at, channel + 3u),
    );
}

// An invocation's share of 16 inputs and weights.
struct Fetched { x0: vec4f, x1: vec4f, x2: vec4f, x3: vec4f, w0: vec4f, w1: vec4f, w2: vec4f, w3: vec4f }

// Which of the 16 they are: an invocation loads four inputs of every `ROW_STEP`th row,
// and four weights of every `ROWS`th input.
fn fetch(first: u32, local_index: u32, channel: u32) -> Fetched {
    var fetched: Fetched;
    let row = local_index / 4u;
    let inputs_at = first + local_index % 4u * 4u;
    let a = term(inputs_at);
    let b = term(inputs_at + 1u);
    let c = term(inputs_at + 2u);
    let d = term(inputs_at + 3u);
    fetched.x0 = fetch_inputs(row, a, b, c, d);
    fetched.x1 = fetch_inputs(row + ROW_STEP, a, b, c, d);
    if (COLUMNS < 16u) {
        fetched.x2 = fetch_inputs(row + 2u * ROW_STEP, a, b, c, d);
        fetched.x3 = fetch_inputs(row + 3u * ROW_STEP, a, b, c, d);
    }
    let weights_at = first + local_index / COLUMNS;
    fetched.w0 = fetch_weights(weights_at, channel);
    if (ROWS < 16u) {
        fetched.w1 = fetch_weights(weights_at + ROWS, channel);
    }
    if (ROWS < 8u) {
        fetched.w2 = fetch_weights(weights_at + 2u * ROWS, channel);
        fetched.w3 = fetch_weights(weights_at + 3u * ROWS, channel);
    }
    return fetched;
}

fn store_one(position: u32, channel: u32, sum: f32) {
    if (channel < OUT_CHANNELS) {
        output[position * OUT_CHANNELS + channel] = Element(sum);
    }
}

fn store(position: u32, channel: u32, sum: vec4f) {
    if (position < step.images * POSITIONS) {
        store_one(position, channel, sum.x);
        store_one(position, channel + 1u, sum.y);
        store_one(position, channel + 2u, sum.z);
        store_one(position, channel + 3u, sum.w);
    }
}

fn fetch_bias(channel: u32) -> f32 {
    return biases[min(channel, OUT_CHANNELS - 1u)];
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
    // The first of an invocation's channels: of the weights it loads, and of the sums it keeps.
    let channel = 4u * (group % CHANNEL_TILES * COLUMNS + local_id.x);
    if (local_index < TILE_ROWS) {
        corners[local_index] = corner(first_position + local_index);
    }
    workgroupBarrier();
    let bias = vec4(
        fetch_bias(channel),
        fetch_bias(channel + 1u),
        fetch_bias(channel + 2u),
        fetch_bias(channel + 3u),
    );
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
        let fetched = fetch(first, local_index, channel);
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
    store(position, channel, sums0);
    store(position + ROWS, channel, sums1);
    store(position + 2u * ROWS, channel, sums2);
    store(position + 3u * ROWS, channel, sums3);
    store(position + 4u * ROWS, channel, sums4);
    store(position + 5u * ROWS, channel, sums5);
    store(position + 6u * ROWS, channel, sums6);
    store(position + 7u * ROWS, channel, sums7);
}
