// The derivative of a locally connected layer by its weights as a product of matrices for each row of
// taps at each position, a tile of it per workgroup.
//
// Reads input and output_gradients; writes weight_gradients, or adds to them.
// Dispatch: one workgroup per (position, row of taps, 32 inputs of the row, 32 output channels), the
// channels fastest and the positions slowest, in one dimension folded into two.
// The inner sum runs over the images, 16 at a time. Neighbouring invocations load neighbours into
// workgroup memory; an invocation keeps 4 inputs x 4 channels in registers, every eighth of the tile.
// Invocation (x, y): inputs y | y + 8 | y + 16 | y + 24  x  channels x | x + 8 | x + 16 | x + 24.

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read_write> weight_gradients: array<f32>;

override OUT_LENGTH: u32 = OUT_HEIGHT * OUT_WIDTH * OUT_CHANNELS;
override OUT_TILES: u32 = (OUT_CHANNELS + 31u) / 32u;
// Inputs under a row of taps.
override ROW_LENGTH: u32 = KERNEL_WIDTH * IN_CHANNELS;
override ROW_TILES: u32 = (ROW_LENGTH + 31u) / 32u;
// The inputs and the channels that an invocation has are so many apart.
const APART = vec4u(0u, 8u, 16u, 24u);

// Of each of 16 images 32 inputs and the gradients of 32 channels.
var<workgroup> inputs: array<array<vec4f, 8>, 16>;
var<workgroup> gradients: array<array<vec4f, 8>, 16>;

// An input under a row of taps, which lies in this row of the image and begins in this column; 0
// outside the image.
fn fetch_input(image: u32, y: u32, left: u32, at: u32) -> f32 {
    // Rows and columns before the image wrap around to very large ones.
    let x = left + at / IN_CHANNELS;
    let known = image < step.images && y < IN_HEIGHT && x < IN_WIDTH && at < ROW_LENGTH;
    let pixel = (image * IN_HEIGHT + y) * IN_WIDTH + x;
    return select(0.0, f32(input[select(0u, pixel * IN_CHANNELS + at % IN_CHANNELS, known)]), known);
}

fn fetch_inputs(image: u32, y: u32, left: u32, first: u32) -> vec4f {
    let at = first + APART;
    return vec4f(
        fetch_input(image, y, left, at.x),
        fetch_input(image, y, left, at.y),
        fetch_input(image, y, left, at.z),
        fetch_input(image, y, left, at.w),
    );
}

fn fetch_gradient(image: u32, position: u32, channel: u32) -> f32 {
    let known = image < step.images && channel < OUT_CHANNELS;
    let at = image * OUT_LENGTH + position * OUT_CHANNELS + channel;
    return select(0.0, f32(output_gradients[select(0u, at, known)]), known);
}

fn fetch_gradients(image: u32, position: u32, first_channel: u32) -> vec4f {
    let channel = first_channel + APART;
    return vec4f(
        fetch_gradient(image, position, channel.x),
        fetch_gradient(image, position, channel.y),
        fetch_gradient(image, position, channel.z),
        fetch_gradient(image, position, channel.w),
    );
}

fn store_one(row: u32, channel: u32, sum: f32) {
    if (channel < OUT_CHANNELS) {
        let at = row * OUT_CHANNELS + channel;
        var gradient = GRADIENT_UNIT * sum;
        if (step.accumulate != 0u) {
            gradient += weight_gradients[at];
        }
        weight_gradients[at] = gradient;
    }
}

fn store(taps: u32, at: u32, first_channel: u32, sum: vec4f) {
    if (at < ROW_LENGTH) {
        let channel = first_channel + APART;
        let row = taps * ROW_LENGTH + at;
        store_one(row, channel.x, sum.x);
        store_one(row, channel.y, sum.y);
        store_one(row, channel.z, sum.z);
        store_one(row, channel.w, sum.w);
    }
}

@compute @workgroup_size(8, 8)
fn main(
    @builtin(workgroup_id) group_id: vec3u,
    @builtin(num_workgroups) group_count: vec3u,
    @builtin(local_invocation_id) local_id: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let group = linear_group(group_id, group_count);
    let first_channel = group % OUT_TILES * 32u;
    let first = group / OUT_TILES % ROW_TILES * 32u;
    // A row of taps of a position.
    let taps = group / OUT_TILES / ROW_TILES;
    let position = taps / KERNEL_HEIGHT;
    if (position >= OUT_HEIGHT * OUT_WIDTH) {
        return;
    }
    let y = position / OUT_WIDTH * STRIDE_Y + taps % KERNEL_HEIGHT - PAD_TOP;
    let left = position % OUT_WIDTH * STRIDE_X - PAD_LEFT;
    var sums0 = vec4f();
    var sums1 = vec4f();
    var sums2 = vec4f();
    var sums3 = vec4f();
    for (var first_image = 0u; first_image < step.images; first_image += 16u) {
        let image = first_image + local_index / 8u;
        let beside = local_index % 8u;
        inputs[local_index / 8u][beside] = fetch_inputs(image, y, left, first + beside);
        inputs[local_index / 8u + 8u][beside] = fetch_inputs(image + 8u, y, left, first + beside);
        gradients[local_index / 8u][beside] = fetch_gradients(image, position, first_channel + beside);
        gradients[local_index / 8u + 8u][beside] = fetch_gradients(image + 8u, position, first_channel + beside);
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            let x = inputs[k][local_id.y];
            let g = gradients[k][local_id.x];
            sums0 = fma(vec4(x.x), g, sums0);
            sums1 = fma(vec4(x.y), g, sums1);
            sums2 = fma(vec4(x.z), g, sums2);
            sums3 = fma(vec4(x.w), g, sums3);
        }
        workgroupBarrier();
    }
    let at = first + local_id.y;
    let channel = first_channel + local_id.x;
    store(taps, at, channel, sums0);
    store(taps, at + 8u, channel, sums1);
    store(taps, at + 16u, channel, sums2);
    store(taps, at + 24u, channel, sums3);
}
