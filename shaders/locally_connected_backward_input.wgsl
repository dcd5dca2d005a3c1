// The derivative of a locally connected layer by its input as products of matrices, a tile of 32
// images by 32 channels of a pixel per workgroup.
//
// Reads output_gradients and weights; writes input_gradients.
// Dispatch: one workgroup per (pixel, 32 images, 32 input channels), the channels fastest and the
// pixels slowest, in one dimension folded into two.
// The inner sum runs over the output channels of each position with a tap on the pixel, 16 at a time.
// Neighbouring invocations load neighbouring ones into workgroup memory; an invocation keeps 4
// images x 4 channels in registers, every eighth of the tile.
// Invocation (x, y): images y | y + 8 | y + 16 | y + 24  x  channels x | x + 8 | x + 16 | x + 24.

@group(0) @binding(0) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;

override OUT_LENGTH: u32 = OUT_HEIGHT * OUT_WIDTH * OUT_CHANNELS;
override IN_TILES: u32 = (IN_CHANNELS + 31u) / 32u;
// The images and the channels that an invocation has are so many apart.
const APART = vec4u(0u, 8u, 16u, 24u);

// Of each step of the sum 32 images, and the weights to 32 input channels. The ninth vector spreads
// the steps over the banks.
var<workgroup> gradients: array<array<vec4f, 9>, 16>;
var<workgroup> columns: array<array<vec4f, 9>, 16>;

fn fetch_gradient(image: u32, at: u32, inside: bool) -> f32 {
    let known = inside && image < step.images;
    return select(0.0, f32(output_gradients[select(0u, image * OUT_LENGTH + at, known)]), known);
}

fn fetch_gradients(first_image: u32, at: u32, inside: bool) -> vec4f {
    let image = first_image + APART;
    return vec4f(
        fetch_gradient(image.x, at, inside),
        fetch_gradient(image.y, at, inside),
        fetch_gradient(image.z, at, inside),
        fetch_gradient(image.w, at, inside),
    );
}

fn fetch_weight(tap: u32, channel: u32, at: u32) -> f32 {
    let known = channel < IN_CHANNELS && at < OUT_CHANNELS;
    let row = tap * IN_CHANNELS + channel;
    return select(0.0, weights[select(0u, row * OUT_CHANNELS + at, known)], known);
}

fn fetch_weights(tap: u32, first_channel: u32, at: u32) -> vec4f {
    let channel = first_channel + APART;
    return vec4f(
        fetch_weight(tap, channel.x, at),
        fetch_weight(tap, channel.y, at),
        fetch_weight(tap, channel.z, at),
        fetch_weight(tap, channel.w, at),
    );
}

fn store_one(pixel: u32, channel: u32, sum: f32) {
    if (channel < IN_CHANNELS) {
        input_gradients[pixel * IN_CHANNELS + channel] = Element(sum);
    }
}

fn store(image: u32, pixel: u32, first_channel: u32, sum: vec4f) {
    if (image < step.images) {
        let channel = first_channel + APART;
        let at = image * IN_HEIGHT * IN_WIDTH + pixel;
        store_one(at, channel.x, sum.x);
        store_one(at, channel.y, sum.y);
        store_one(at, channel.z, sum.z);
        store_one(at, channel.w, sum.w);
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
    let first_channel = group % IN_TILES * 32u;
    let first_image = group / IN_TILES % image_tiles * 32u;
    let pixel = group / IN_TILES / image_tiles;
    if (pixel >= IN_HEIGHT * IN_WIDTH) {
        return;
    }
    var sums0 = vec4f();
    var sums1 = vec4f();
    var sums2 = vec4f();
    var sums3 = vec4f();
    for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
        // Positions before the first wrap around to very large ones.
        let below = pixel / IN_WIDTH + PAD_TOP - ky;
        let out_y = below / STRIDE_Y;
        if (out_y >= OUT_HEIGHT || below % STRIDE_Y != 0u) {
            continue;
        }
        for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
            let beside = pixel % IN_WIDTH + PAD_LEFT - kx;
            let out_x = beside / STRIDE_X;
            if (out_x >= OUT_WIDTH || beside % STRIDE_X != 0u) {
                continue;
            }
            let position = out_y * OUT_WIDTH + out_x;
            let tap = (position * KERNEL_HEIGHT + ky) * KERNEL_WIDTH + kx;
            for (var first = 0u; first < OUT_CHANNELS; first += 16u) {
                let at = first + local_index % 16u;
                let image = first_image + local_index / 16u;
                let channel = first_channel + local_index / 16u;
                let gradients_at = position * OUT_CHANNELS + at;
                let inside = at < OUT_CHANNELS;
                gradients[local_index % 16u][local_index / 16u] = fetch_gradients(image, gradients_at, inside);
                gradients[local_index % 16u][local_index / 16u + 4u] = fetch_gradients(image + 4u, gradients_at, inside);
                columns[local_index % 16u][local_index / 16u] = fetch_weights(tap, channel, at);
                columns[local_index % 16u][local_index / 16u + 4u] = fetch_weights(tap, channel + 4u, at);
                workgroupBarrier();
                for (var k = 0u; k < 16u; k++) {
                    let g = gradients[k][local_id.y];
                    let w = columns[k][local_id.x];
                    sums0 = fma(vec4(g.x), w, sums0);
                    sums1 = fma(vec4(g.y), w, sums1);
                    sums2 = fma(vec4(g.z), w, sums2);
                    sums3 = fma(vec4(g.w), w, sums3);
                }
                workgroupBarrier();
            }
        }
    }
    let image = first_image + local_id.y;
    let channel = first_channel + local_id.x;
    store(image, pixel, channel, sums0);
    store(image + 8u, pixel, channel, sums1);
    store(image + 16u, pixel, channel, sums2);
    store(image + 24u, pixel, channel, sums3);
}
