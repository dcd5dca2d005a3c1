// The derivative of a convolution by its input as a product of matrices, a tile of it per workgroup.
//
// Reads output_gradients and weights; writes input_gradients. All are taken four channels at once.
// Dispatch: one workgroup per (8 * ROWS pixels, 4 * COLUMNS input channels), the channels fastest,
// in one dimension folded into two.
// The rows of the product are pixels, its columns input channels, and the inner sum runs over the
// output channels of every tap that lies on a pixel, 16 gradients at a time. Neighbouring
// invocations load neighbouring vectors into workgroup memory, where every gradient serves a row
// of invocations and every weight a column of them; an invocation keeps 8 pixels x 4 channels in
// registers. The next 16 are fetched while these are multiplied. Rows of weights run along the
// output channels, so they are turned on their way. Needs channels in multiples of 4.
// Invocation (x, y): pixels y | y + ROWS | .. | y + 7 * ROWS  x  channels 4x | .. | 4x + 3.

@group(0) @binding(0) var<storage, read> output_gradients: array<vec4<Element>>;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<vec4<Element>>;

override TERMS: u32 = KERNEL_HEIGHT * KERNEL_WIDTH * OUT_CHANNELS;
override CHANNEL_TILES: u32 = (IN_VECTORS + COLUMNS - 1u) / COLUMNS;
override PIXELS: u32 = IN_HEIGHT * IN_WIDTH;

// Where the first tap of each pixel lies: the first row of its image's gradients, and a row and a
// column there, in steps of 1 whatever the strides.
var<workgroup> corners: array<vec3u, TILE_ROWS>;

fn corner(pixel: u32) -> vec3u {
    let image = pixel / PIXELS;
    let y = pixel / IN_WIDTH % IN_HEIGHT + PAD_TOP;
    let x = pixel % IN_WIDTH + PAD_LEFT;
    // Pixels past the end see nothing.
    return vec3(image * OUT_HEIGHT, select(0x80000000u, y, image < step.images), x);
}

// Four gradients that a pixel meets; 0 outside the image, between steps and past the last tap.
fn fetch_gradient(row: u32, vector: u32) -> vec4f {
    let tap = vector / OUT_VECTORS;
    let origin = corners[row];
    // Rows and columns before the image wrap around to very large ones.
    let down = origin.y - tap / KERNEL_WIDTH;
    let right = origin.z - tap % KERNEL_WIDTH;
    let y = down / STRIDE_Y;
    let x = right / STRIDE_X;
    let met = y * STRIDE_Y == down && x * STRIDE_X == right && tap < KERNEL_HEIGHT * KERNEL_WIDTH;
    let inside = met && y < OUT_HEIGHT && x < OUT_WIDTH;
    let at = ((origin.x + y) * OUT_WIDTH + x) * OUT_VECTORS + vector % OUT_VECTORS;
    return select(vec4f(), vec4f(output_gradients[select(0u, at, inside)]), inside);
}

// The weights from four gradients back to one channel; 0 past the end of either.
fn fetch_row(vector: u32, channel: u32) -> vec4f {
    let inside = vector < KERNEL_HEIGHT * KERNEL_WIDTH * OUT_VECTORS && channel < IN_CHANNELS;
    let at = (vector / OUT_VECTORS * IN_CHANNELS + channel) * OUT_VECTORS + vector % OUT_VECTORS;
    return select(vec4f(), weights[select(0u, at, inside)], inside);
}

// An invocation's share of 16 gradients and weights.
struct Fetched { g0: vec4f, g1: vec4f, g2: vec4f, g3: vec4f, w: mat4x4f }

// Which of the 16 they are: an invocation loads one vector of every `ROW_STEP`th row of gradients,
// and the first quarter or half of them 4 x 4 weights each.
fn fetch(first: u32, local_index: u32, first_vector: u32) -> Fetched {
    var fetched: Fetched;
    let row = local_index / 4u;
    let vector = first / 4u + local_index % 4u;
    fetched.g0 = fetch_gradient(row, vector);
    fetched.g1 = fetch_gradient(row + ROW_STEP, vector);
    if (COLUMNS < 16u) {
        fetched.g2 = fetch_gradient(row + 2u * ROW_STEP, vector);
        fetched.g3 = fetch_gradient(row + 3u * ROW_STEP, vector);
    }
    if (local_index < 4u * COLUMNS) {
        let channel = 4u * (first_vector + local_index / 4u);
        fetched.w = transpose(mat4x4f(
            fetch_row(vector, channel),
            fetch_row(vector, channel + 1u),
            fetch_row(vector, channel + 2u),
            fetch_row(vector, channel + 3u),
        ));
    }
    return fetched;
}

fn stage_weights(local_index: u32, w: mat4x4f) {
    if (local_index < 4u * COLUMNS) {
        let column = local_index / 4u;
        let term = local_index % 4u * 4u;
        staged_columns[column][term] = w[0];
        staged_columns[column][term + 1u] = w[1];
        staged_columns[column][term + 2u] = w[2];
        staged_columns[column][term + 3u] = w[3];
    }
}

fn store(pixel: u32, vector: u32, sum: vec4f) {
    if (pixel < step.images * PIXELS && vector < IN_VECTORS) {
        input_gradients[pixel * IN_VECTORS + vector] = vec4<Element>(sum);
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
        stage_weights(local_index, fetched.w);
        workgroupBarrier();
    }
    let pixel = first_pixel + local_id.y;
    let vector = first_vector + local_id.x;
    store(pixel, vector, sums0);
    store(pixel + ROWS, vector, sums1);
    store(pixel + 2u * ROWS, vector, sums2);
    store(pixel + 3u * ROWS, vector, sums3);
    store(pixel + 4u * ROWS, vector, sums4);
    store(pixel + 5u * ROWS, vector, sums5);
    store(pixel + 6u * ROWS, vector, sums6);
    store(pixel + 7u * ROWS, vector, sums7);
}
