// The derivative of a convolution by its weights as products of matrices, a tile per workgroup,
// with any number of channels.
//
// Reads input and output_gradients; writes one sum per split of the images to partials. All are
// taken one by one.
// Dispatch: one workgroup per (split, 8 * ROWS inputs of a patch, 4 * COLUMNS output channels), the
// channels fastest, in one dimension folded into two.
// The rows of a product are the inputs of the patch that a position sees, its columns output
// channels, and the inner sum runs over the positions of the split, 16 at a time. Neighbouring
// invocations load neighbouring runs of 4 into workgroup memory, where every input serves a row of
// invocations and every gradient a column of them; an invocation keeps 8 inputs x 4 channels in
// registers. The next 16 are fetched while these are multiplied.
// Invocation (x, y): inputs 4y | .. | 4y + 3, 4 * (y + ROWS) | ..  x  channels 4x | .. | 4x + 3.

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;

override PATCH: u32 = KERNEL_HEIGHT * KERNEL_WIDTH * IN_CHANNELS;
override PATCH_TILES: u32 = (PATCH + 8u * ROWS - 1u) / (8u * ROWS);
override CHANNEL_TILES: u32 = (OUT_VECTORS + COLUMNS - 1u) / COLUMNS;
override POSITIONS: u32 = OUT_HEIGHT * OUT_WIDTH;

// The row, column and channel of an input of a patch; past the end, in a row outside any image.
fn term(at: u32) -> vec3u {
    let tap = at / IN_CHANNELS;
    let y = select(0x40000000u, tap / KERNEL_WIDTH, at < PATCH);
    return vec3(y, tap % KERNEL_WIDTH, at % IN_CHANNELS);
}

// One input of the patch that begins here: the first row of an image, and a row and a column
// there; 0 outside the image.
fn fetch_input(origin: vec3u, term: vec3u) -> f32 {
    let y = origin.y + term.x;
    let x = origin.z + term.y;
    let inside = y < IN_HEIGHT && x < IN_WIDTH;
    let at = ((origin.x + y) * IN_WIDTH + x) * IN_CHANNELS + term.z;
    return select(0.0, f32(input[select(0u, at, inside)]), inside);
}

fn fetch_inputs(position: u32, end: u32, a: vec3u, b: vec3u, c: vec3u, d: vec3u) -> vec4f {
    // Rows and columns before the image wrap around to very large ones.
    let y = position / OUT_WIDTH % OUT_HEIGHT * STRIDE_Y - PAD_TOP;
    let x = position % OUT_WIDTH * STRIDE_X - PAD_LEFT;
    // Positions past the end see nothing.
    let row = position / POSITIONS * IN_HEIGHT;
    let origin = vec3(row, select(0x80000000u, y, position < end), x);
    return vec4(
        fetch_input(origin, a),
        fetch_input(origin, b),
        fetch_input(origin, c),
        fetch_input(origin, d),
    );
}

// The gradient of one channel of a position; 0 past the end of either.
fn fetch_gradient(position: u32, end: u32, channel: u32) -> f32 {
    let inside = position < end && channel < OUT_CHANNELS;
    let at = position * OUT_CHANNELS + channel;
    return select(0.0, f32(output_gradients[select(0u, at, inside)]), inside);
}

fn fetch_gradients(position: u32, end: u32, channel: u32) -> vec4f {
    return vec4(
        fetch_gradient(position, end, channel),
        fetch_gradient(position, end, channel + 1u),
        fetch_gradient(position, end, channel + 2u),
        fetch_gradient(position, end, channel + 3u),
    );
}

// An invocation's share of 16 positions: four inputs of every `ROW_STEP`th, and four gradients of every
// `ROWS`th.
fn fetch(first: u32, end: u32, local_index: u32, first_input: u32, channel: u32) -> Terms {
    var fetched: Terms;
    let at = 4u * (first_input + local_index % TILE_VECTORS);
    let a = term(at);
    let b = term(at + 1u);
    let c = term(at + 2u);
    let d = term(at + 3u);
    let position = first + local_index / TILE_VECTORS;
    fetched.r0 = fetch_inputs(position, end, a, b, c, d);
    fetched.r1 = fetch_inputs(position + ROW_STEP, end, a, b, c, d);
    if (COLUMNS < 16u) {
        fetched.r2 = fetch_inputs(position + 2u * ROW_STEP, end, a, b, c, d);
        fetched.r3 = fetch_inputs(position + 3u * ROW_STEP, end, a, b, c, d);
    }
    let gradients_at = first + local_index / COLUMNS;
    fetched.c0 = fetch_gradients(gradients_at, end, channel);
    if (ROWS < 16u) {
        fetched.c1 = fetch_gradients(gradients_at + ROWS, end, channel);
    }
    if (ROWS < 8u) {
        fetched.c2 = fetch_gradients(gradients_at + 2u * ROWS, end, channel);
        fetched.c3 = fetch_gradients(gradients_at + 3u * ROWS, end, channel);
    }
    return fetched;
}

fn store_one(split: u32, term: u32, channel: u32, sum: f32) {
    if (term < PATCH && channel < OUT_CHANNELS) {
        partials[(split * PATCH + term) * OUT_CHANNELS + channel] = GRADIENT_UNIT * sum;
    }
}

fn store_row(split: u32, term: u32, channel: u32, sums: vec4f) {
    store_one(split, term, channel, sums.x);
    store_one(split, term, channel + 1u, sums.y);
    store_one(split, term, channel + 2u, sums.z);
    store_one(split, term, channel + 3u, sums.w);
}

fn store(split: u32, term: u32, channel: u32, sums: mat4x4f) {
    if (split < SPLITS) {
        store_row(split, term, channel, sums[0]);
        store_row(split, term + 1u, channel, sums[1]);
        store_row(split, term + 2u, channel, sums[2]);
        store_row(split, term + 3u, channel, sums[3]);
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
    // The first of an invocation's channels: of the gradients it loads, and of the sums it keeps.
    let channel = 4u * (group % CHANNEL_TILES * COLUMNS + local_id.x);
    let first_input = group / CHANNEL_TILES % PATCH_TILES * TILE_VECTORS;
    let split = group / CHANNEL_TILES / PATCH_TILES;
    let images = images_of(split, step.images);
    let begin = images.begin * POSITIONS;
    let end = images.end * POSITIONS;
    var sums0 = mat4x4f();
    var sums1 = mat4x4f();
    // Each turn loads some and multiplies those of the turn before.
    for (var first = begin; first < end + 16u; first += 16u) {
        let fetched = fetch(first, end, local_index, first_input, channel);
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
    store(split, 4u * (first_input + local_id.y), channel, sums0);
    store(split, 4u * (first_input + local_id.y + ROWS), channel, sums1);
}
