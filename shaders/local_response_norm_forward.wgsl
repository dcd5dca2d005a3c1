// Normalises each channel by its neighbours at the same position: x_i * N_i^-BETA with
// N_i = BIAS + ALPHA * (the sum of x_j^2 over the channels j within RADIUS of i).
// Reads input, writes output; POSITIONS x CHANNELS elements per image in both.
// Dispatch: one invocation per element.

override POSITIONS: u32;
override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read_write> output: array<Element>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * POSITIONS * CHANNELS) {
        return;
    }
    let channel = index % CHANNELS;
    var sum = 0.0;
    for (var shift = 0u; shift <= 2u * RADIUS; shift++) {
        // Channels before the first wrap around to very large numbers.
        if (channel + shift - RADIUS < CHANNELS) {
            let x = f32(input[index + shift - RADIUS]);
            sum += x * x;
        }
    }
    output[index] = Element(f32(input[index]) * power(BIAS + ALPHA * sum));
}
