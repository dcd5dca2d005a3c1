// The derivative of local response normalisation for every radius. With N_i as in the forward
// pass, dx_i = g_i * N_i^-BETA - 2 * ALPHA * BETA * x_i * sum of g_j * x_j * N_j^(-BETA - 1), over
// the channels j within RADIUS of i.
// Reads input and output_gradients, writes input_gradients; POSITIONS x CHANNELS elements per
// image in all.
// Dispatch: one invocation per element, which computes the N of every neighbour anew. From one
// neighbour to the next, the channel that leaves the sum is taken off it again: summing anew takes
// a time that grows with the square of the radius.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

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

fn square(at: u32) -> f32 {
    let x = f32(input[at]);
    return x * x;
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let at = id.x + id.y * groups.x * 256u;
    if (at >= step.images * POSITIONS * CHANNELS) {
        return;
    }
    let channel = at % CHANNELS;
    let position = at - channel;
    let first = channel - min(channel, RADIUS);
    let last = min(channel + RADIUS, CHANNELS - 1u);

    var squares = 0.0;
    for (var i = first - min(first, RADIUS); i <= min(first + RADIUS, CHANNELS - 1u); i++) {
        squares += square(position + i);
    }
    var sum = 0.0;
    var direct = 0.0;
    for (var i = first; i <= last; i++) {
        let scale = BIAS + ALPHA * squares;
        let passed = f32(output_gradients[position + i]) * power(scale);
        sum += passed * f32(input[position + i]) / scale;
        direct = select(direct, passed, i == channel);
        if (i + RADIUS + 1u < CHANNELS) {
            squares += square(position + i + RADIUS + 1u);
        }
        if (i >= RADIUS) {
            squares -= square(position + i - RADIUS);
        }
    }
    input_gradients[at] = Element(direct - 2.0 * ALPHA * BETA * f32(input[at]) * sum);
}
