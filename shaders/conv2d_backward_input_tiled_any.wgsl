// The derivative of a convolution by its input as a product of matrices, a tile of it per
// workgroup, with any number of channels.
//
// Reads output_gradients and weights; writes input_gradients. All are taken one by one.
// Dispatch: one workgroup per (8 * ROWS pixels, 4 * COLUMNS input channels), the channels fastest,
// in one dimension folded into two.
// The rows of the product are pixels, its columns input channels, and the inner sum runs over the
// output channels of every tap that lies on a pixel, 16 gradients at a time. Neighbouring
// invocations load neighbouring runs of 4 into workgroup memory, where every gradient serves a row
// of invocations and every weight a column of them; an invocation keeps 8 pixels x 4 channels in
// registers. The next 16 are fetched while these are multiplied. Needs strides of 1: so many loads
// with divisions take some drivers minutes to compile.
// Invocation (x, y): pixels y | y + ROWS | .. | y + 7 * ROWS  x  channels 4x | .. | 4x + 3.

@group(0) @binding(0) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;

override TERMS: u32 = KERNEL_HEIGHT * KERNEL_WIDTH * OUT_CHANNELS;
override CHANNEL_TILES: u32 = (IN_VECTORS + COLUMNS - 1u) / COLUMNS;
override PIXELS: u32 = IN_HEIGHT * IN_WIDTH;

// Where the first tap of each pixel lies: the first row of its image's gradients, and a row and a
// column there.
var<workgroup> corners: array<vec3u, TILE_ROWS>;

fn corner(pixel: u32) -> vec3u {
    let image = pixel / PIXELS;
    let y = pixel / IN_WIDTH % IN_HEIGHT + PAD_TOP;
    let x = pixel % IN_WIDTH + PAD_LEFT;
    // Pixels past the end see nothing.
    return vec3(image * OUT_HEIGHT, select(0x80000000u, y, image < step.images), x);
}

// The row and column of a tap, and a channel; past the last tap, one that no pixel meets.
fn term(at: u32) -> vec3u {
    let tap = at / OUT_CHANNELS;
    let y = select(0x40000000u, tap / KERNEL_WIDTH, at < TERMS);
    return vec3(y, tap % KERNEL_WIDTH, at % OUT_CHANNELS);
}

// One gradient that a pixel meets; 0 outside the image.
fn fetch_gradient(origin: vec3u, term: vec3u) -> f32 {
    // Rows and columns before the image wrap around to very large ones.
    let y = origin.y - term.x;
    let x = origin.z - term.y;
    let inside = y < OUT_HEIGHT && x < OUT_WIDTH;
    let at = ((origin.x + y) * OUT_WIDTH + x) * OUT_CHANNELS + term.z;
    return select(0.0, f32(output_gradients[select(0u, at, inside)]), inside);
}

fn fetch_gradients(row: u32, a: vec3u, b: vec3u, c: vec3u, d: vec3u) -> vec4f {
    let origin = corners[row];
    return vec4(
        fetch_gradient(origin, a),
        fetch_gradient(origin, b),
        fetch_gradient(origin, c),
        fetch_gradient(origin, d),
    );
}

// The weight from one gradient back to a channel; 0 past the end of either.
fn fetch_weight(term: vec3u, channel: u32) -> f32 {
    let inside = term.x < KERNEL_HEIGHT && channel < IN_CHANNELS;
    let tap = term.x * KERNEL_WIDTH + term.y;
    let at = (tap * IN_CHANNELS + channel) * OUT_CHANNELS + term.z;
    return select(0.0, weights[select(0u, at, inside)], inside);
}

fn fetch_weights(term: vec3u, channel: u32) -> vec4f {
    return vec4(
        fetch_weight(term, channel),
        fetch_weight(term, channel + 1u),
        fetch_weight(term, channel + 2u),
        fetch_weight(term, channel + 3u),
    );
}

// An invocation's share of 16 gradients and weights.
struct Fetched { g0: vec4f, g1: vec4f, g2: vec4f, g3: vec4f, w0: vec4f, w1: vec4f, w2: vec4f, w3: vec4f }

// Which of the 16 they are: an invocation loads four gradients of every `ROW_STEP`th row, and the
// weights of one gradient to every `COLUMN_STEP`th vector of channels, as weights run along the
// output channels.
override COLUMN_STEP: u32 = ROWS * COLUMNS / 16u;

fn fetch(first: u32, local_index: u32, first_vector: u32) -> Fetched {
    var fetched: Fetched;
    let row = local_index / 4u;
    let at = first + local_index % 4u * 4u;
    let a = term(at);
    let b = term(at + 1u);
    let c = term(at + 2u);
    let d = term(at + 3u);
    fetched.g0 = fetch_gradients(row, a, b, c, d);
    fetched.g1 = fetch_gradients(row + ROW_STEP, a, b, c, d);
    if (COLUMNS < 16u) {
        fetched.g2 = fetch_gradients(row + 2u * ROW_STEP, a, b, c, d);
        fetched.g3 = fetch_gradients(row + 3u * ROW_STEP, a, b, c, d);
    }
    let weight_term = term(first + local_index % 16u);
    let channel = 4u * (first_vector + local_index / 16u);
    fetched.w0 = fetch_weights(weight_term, channel);
    if (ROWS < 16u) {
        fetched.w1 = fetch_weights(weight_term, channel + 4u * COLUMN_STEP);
    }
    if (ROWS < 8u) {
        fetched.w2 = fetch_weights(weight_term, channel + 8u * COLUMN_STEP);
        fetched.w3 = fetch_weights(weight_term, channel + 12u * COLUMN_STEP);
    }
    return fetched;
}

fn stage_weights(local_index: u32, w0: vec4f, w1: vec4f, w2: vec4f, w3: vec4f) {
    let column = local_index / 16u;
    let term = local_index % 16u;
    staged_columns[column][term] = w0;
    if (ROWS < 16u) {
        staged_columns[column + COLUMN_STEP][term] = w1;
    }
    if (ROWS < 8u) {
        staged_columns[column + 2u * COLUMN_STEP][term] = w2;
        staged_columns[column + 3u * COLUMN_STEP][term] = w3;
    }
}

fn store_one(pixel: u32, channel: u32, sum: f32) {
    if (channel < IN_CHANNELS) {
        input_gradients[pixel * IN_CHANNELS + channel] = Element(sum);
    }
}

fn store(pixel: u32, channel: u32, sum: vec4f) {
    if (pixel < step.images * PIXELS) {
        store_one(pixel, channel, sum.x);
        store_one(pixel, channel + 1u, sum.y);
        store_one(pixel, channel + 2u, sum.z);
        store_one(pixel, channel + 3u, sum.w);
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
    let first_pixel = group / CHANNEL_TILES * TILE_ROWS;
    let first_vector = group % CHANNEL_TILES * COLUMNS;
    if (local_index < TILE_ROWS) {
        corners[local_index] = corner(first_pixel + local_index);
    }
    workgroupBarrier();
    var sums0 = vec4f();
    var sums1 = vec4f();
    var sums2 = vec4f();
    var sums3 = vec4f();
    var sums4 = vec4f();
    var sums5 = vec4f();
    var sums6 = vec4f();
    var sums7 = vec4f();
    // Each turn loads some and multiplies those of the turn before.
    for (var first = 0u; first < TERMS + 16u; first += 16u) {
        let fetched = fetch(first, local_index, first_vector);
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
        stage_rows(local_index, fetched.g0, fetched.g1, fetched.g2, fetched.g3);
        stage_weights(local_index, fetched.w0, fetched.w1, fetched.w2, fetched.w3);
        workgroupBarrier();
    }
    let pixel = first_pixel + local_id.y;
    let channel = 4u * (first_vector + local_id.x);
    store(pixel, channel, sums0);
    store(pixel + ROWS, channel, sums1);
    store(pixel + 2u * ROWS, channel, sums2);
    store(pixel + 3u * ROWS, channel, sums3);
    store(pixel + 4u * ROWS, channel, sums4);
    store(pixel + 5u * ROWS, channel, sums5);
    store(pixel + 6u * ROWS, channel, sums6);
    store(pixel + 7u * ROWS, channel, sums7);
}
