// The derivative of local response normalisation for every radius. With N_i as in the forward
// pass, dx_i = g_i * N_i^-BETA - 2 * ALPHA * BETA * x_i * sum of g_j * x_j * N_j^(-BETA - 1), over
// the channels j within RADIUS of i.
// Reads input and output_gradients, writes input_gradients; POSITIONS x CHANNELS elements per
// image in all.
// Dispatch: one invocation per element, which computes the N of every neighbour anew. From one
// neighbour to the next, the channel that leaves the sum is taken off it again: summing anew takes
// a time that grows with the square of the radius.

override POSITIONS: u32;
override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;

fn square(at: u32) -> f32 {
    let x = f32(input[at]);
    return x * x;
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * POSITIONS * CHANNELS) {
        return;
    }
    let channel = index % CHANNELS;
    let position = index - channel;
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
    input_gradients[index] = Element(direct - 2.0 * ALPHA * BETA * f32(input[index]) * sum);
}
