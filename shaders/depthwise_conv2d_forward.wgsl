// Convolution of each channel by itself.
// Reads input, weights and biases; writes output, [images, height, width, CHANNELS].
// Dispatch: one invocation per output element, channels fastest: neighbours load neighbours.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override IN_HEIGHT: u32;
override IN_WIDTH: u32;
override OUT_HEIGHT: u32;
override OUT_WIDTH: u32;
override CHANNELS: u32;
override KERNEL_HEIGHT: u32;
override KERNEL_WIDTH: u32;
override STRIDE_Y: u32;
override STRIDE_X: u32;
override PAD_TOP: u32;
override PAD_LEFT: u32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> biases: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<Element>;
@group(1) @binding(0) var<uniform> step: Step;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let number = id.x + id.y * groups.x * 256u;
    if (number >= step.images * OUT_HEIGHT * OUT_WIDTH * CHANNELS) {
        return;
    }
    let channel = number % CHANNELS;
    let out_x = number / CHANNELS % OUT_WIDTH;
    let out_y = number / CHANNELS / OUT_WIDTH % OUT_HEIGHT;
    let image = number / CHANNELS / OUT_WIDTH / OUT_HEIGHT;
    var sum = biases[channel];
    for (var ky = 0u; ky < KERNEL_HEIGHT; ky++) {
        // Rows and columns before the image wrap around to very large ones.
        let y = out_y * STRIDE_Y + ky - PAD_TOP;
        if (y >= IN_HEIGHT) {
            continue;
        }
        for (var kx = 0u; kx < KERNEL_WIDTH; kx++) {
            let x = out_x * STRIDE_X + kx - PAD_LEFT;
            if (x >= IN_WIDTH) {
                continue;
            }
            let at = ((image * IN_HEIGHT + y) * IN_WIDTH + x) * CHANNELS + channel;
            sum = fma(f32(input[at]), weights[(ky * KERNEL_WIDTH + kx) * CHANNELS + channel], sum);
        }
    }
    output[number] = Element(sum);
}
