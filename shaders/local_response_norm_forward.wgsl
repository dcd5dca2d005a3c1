// Normalises each channel by its neighbours at the same position: x_i * N_i^-BETA with
// N_i = BIAS + ALPHA * (the sum of x_j^2 over the channels j within RADIUS of i).
// Reads input, writes output; POSITIONS x CHANNELS elements per image in both.
// Dispatch: one invocation per element.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override POSITIONS: u32;
override CHANNELS: u32;
override RADIUS: u32;
override BIAS: f32;
override ALPHA: f32;
override BETA: f32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read_write> output: array<Element>;
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

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let at = id.x + id.y * groups.x * 256u;
    if (at >= step.images * POSITIONS * CHANNELS) {
        return;
    }
    let channel = at % CHANNELS;
    var sum = 0.0;
    for (var shift = 0u; shift <= 2u * RADIUS; shift++) {
        // Channels before the first wrap around to very large numbers.
        if (channel + shift - RADIUS < CHANNELS) {
            let x = f32(input[at + shift - RADIUS]);
            sum += x * x;
        }
    }
    output[at] = Element(f32(input[at]) * power(BIAS + ALPHA * sum));
}
