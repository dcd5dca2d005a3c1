// The derivative of local response normalisation for every radius. With N_i as in the forward
// pass, dx_i = g_i * N_i^-BETA - 2 * ALPHA * BETA * x_i * sum of g_j * x_j * N_j^(-BETA - 1), over
// the channels j within RADIUS of i.
// Reads input and output_gradients, writes input_gradients; POSITIONS x CHANNELS elements per
// image in all.
// Dispatch: one invocation per element, which computes the N of every neighbour anew.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, padding: u32 }

override POSITIONS: u32;
override CHANNELS: u32;
override RADIUS: u32;
override BIAS: f32;
override ALPHA: f32;
override BETA: f32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;
@group(1) @binding(0) var<uniform> step: Step;

// scale ^ -BETA.
fn power(scale: f32) -> f32 {
    if (BETA == 0.75) {
        // Two square roots are faster than a power, and more exact on some drivers.
        let root = sqrt(scale);
        return 1.0 / (root * sqrt(root));
    }
    return pow(scale, -BETA);
}

// The sum of the squares around a channel, where `position` is the number of its channel 0.
fn squares(position: u32, channel: u32) -> f32 {
    var sum = 0.0;
    for (var shift = 0u; shift <= 2u * RADIUS; shift++) {
        if (channel + shift - RADIUS < CHANNELS) {
            let x = f32(input[position + channel + shift - RADIUS]);
            sum += x * x;
        }
    }
    return sum;
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let at = id.x + id.y * groups.x * 256u;
    if (at >= step.images * POSITIONS * CHANNELS) {
        return;
    }
    let channel = at % CHANNELS;
    let position = at - channel;
    var sum = 0.0;
    var direct = 0.0;
    for (var shift = 0u; shift <= 2u * RADIUS; shift++) {
        let near = channel + shift - RADIUS;
        if (near < CHANNELS) {
            let scale = BIAS + ALPHA * squares(position, near);
            let passed = f32(output_gradients[position + near]) * power(scale);
            sum += passed * f32(input[position + near]) / scale;
            direct = select(direct, passed, shift == RADIUS);
        }
    }
    input_gradients[at] = Element(direct - 2.0 * ALPHA * BETA * f32(input[at]) * sum);
}
