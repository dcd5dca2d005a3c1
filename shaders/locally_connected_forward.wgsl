// A locally connected layer as a product of matrices for each position, a tile of it per workgroup.
//
// Reads input, weights and biases; writes output.
// Dispatch: one workgroup per (position, 32 images, 32 output channels), the channels fastest and the
// positions slowest, in one dimension folded into two.
// The inner sum runs over the taps of a row that lie inside the image, which are neighbours there and
// in the weights, 16 numbers at a time. Neighbouring invocations load neighbours into workgroup
// memory; an invocation keeps 4 images x 4 channels in registers, every eighth of the tile.
// Invocation (x, y): images y | y + 8 | y + 16 | y + 24  x  channels x | x + 8 | x + 16 | x + 24.

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> biases: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<Element>;

override IMAGE_LENGTH: u32 = IN_HEIGHT * IN_WIDTH * IN_CHANNELS;
override OUT_TILES: u32 = (OUT_CHANNELS + 31u) / 32u;
// The images and the channels that an invocation has are so many apart.
const APART = vec4u(0u, 8u, 16u, 24u);

// Of each step of the sum 32 images. The ninth vector spreads the steps over the banks.
var<workgroup> inputs: array<array<vec4f, 9>, 16>;
// Of each step of the sum the weights to 32 channels.
var<workgroup> columns: array<array<vec4f, 8>, 16>;

fn fetch_input(image: u32, at: u32, inside: bool) -> f32 {
    let known = inside && image < step.images;
    return select(0.0, f32(input[select(0u, image * IMAGE_LENGTH + at, known)]), known);
}

fn fetch_inputs(first_image: u32, at: u32, inside: bool) -> vec4f {
    let image = first_image + APART;
    return vec4f(
        fetch_input(image.x, at, inside),
        fetch_input(image.y, at, inside),
        fetch_input(image.z, at, inside),
        fetch_input(image.w, at, inside),
    );
}

fn fetch_weight(row: u32, channel: u32, inside: bool) -> f32 {
    let known = inside && channel < OUT_CHANNELS;
    return select(0.0, weights[select(0u, row * OUT_CHANNELS + channel, known)], known);
}

fn fetch_weights(row: u32, first_channel: u32, inside: bool) -> vec4f {
    let channel = first_channel + APART;
    return vec4f(
        fetch_weight(row, channel.x, inside),
        fetch_weight(row, channel.y, inside),
        fetch_weight(row, channel.z, inside),
        fetch_weight(row, channel.w, inside),
    );
}

fn store_one(image: u32, position: u32, channel: u32, sum: f32) {
    if (channel < OUT_CHANNELS) {
        let at = position * OUT_CHANNELS + channel;
        output[image * OUT_HEIGHT * OUT_WIDTH * OUT_CHANNELS + at] = Element(sum + biases[at]);
    }
}

fn store(image: u32, position: u32, first_channel: u32, sum: vec4f) {
    if (image < step.images) {
        let channel = first_channel + APART;
        store_one(image, position, channel.x, sum.x);
        store_one(image, position, channel.y, sum.y);
        store_one(image, position, channel.z, sum.z);
        store_one(image, position, channel.w, sum.w);
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
    let image_tiles = (step.images + 31u) / 32u;
    let first_channel = group % OUT_TILES * 32u;
    let first_image = group / OUT_TILES % image_tiles * 32u;
    let position = group / OUT_TILES / image_tiles;
    if (position >= OUT_HEIGHT * OUT_WIDTH) {
        return;
    }
    // The taps of a row that lie inside the image.
    let left = position % OUT_WIDTH * STRIDE_X;
    let begin = min(max(left, PAD_LEFT) - left, KERNEL_WIDTH);
    let end = min(max(IN_WIDTH + PAD_LEFT, left) - left, KERNEL_WIDTH);
    let length = (max(begin, end) - begin) * IN_CHANNELS;
    var sums0 = vec4f();
    var sums1 = vec4f();
    var sums2 = vec4f();
    var sums3 = vec4f();
    for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
        // Rows before the image wrap around to very large ones.
        let y = position / OUT_WIDTH * STRIDE_Y + ky - PAD_TOP;
        if (y >= IN_HEIGHT) {
            continue;
        }
        let input_at = (y * IN_WIDTH + left + begin - PAD_LEFT) * IN_CHANNELS;
        let row = ((position * KERNEL_HEIGHT + ky) * KERNEL_WIDTH + begin) * IN_CHANNELS;
        for (var first = 0u; first < length; first += 16u) {
            let at = first + local_index % 16u;
            let image = first_image + local_index / 16u;
            inputs[local_index % 16u][local_index / 16u] = fetch_inputs(image, input_at + at, at < length);
            inputs[local_index % 16u][local_index / 16u + 4u] = fetch_inputs(image + 4u, input_at + at, at < length);
            let tap = first + local_index / 8u;
            let channel = first_channel + local_index % 8u;
            columns[local_index / 8u][local_index % 8u] = fetch_weights(row + tap, channel, tap < length);
            columns[local_index / 8u + 8u][local_index % 8u] = fetch_weights(row + tap + 8u, channel, tap + 8u < length);
            workgroupBarrier();
            for (var k = 0u; k < 16u; k++) {
                let x = inputs[k][local_id.y];
                let w = columns[k][local_id.x];
                sums0 = fma(vec4(x.x), w, sums0);
                sums1 = fma(vec4(x.y), w, sums1);
                sums2 = fma(vec4(x.z), w, sums2);
                sums3 = fma(vec4(x.w), w, sums3);
            }
            workgroupBarrier();
        }
    }
    let image = first_image + local_id.y;
    let channel = first_channel + local_id.x;
    store(image, position, channel, sums0);
    store(image + 8u, position, channel, sums1);
    store(image + 16u, position, channel, sums2);
    store(image + 24u, position, channel, sums3);
}
