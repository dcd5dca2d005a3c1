// The derivative of local response normalisation. With N_i as in the forward pass,
// dx_i = g_i * N_i^-BETA - 2 * ALPHA * BETA * x_i * sum of g_j * x_j * N_j^(-BETA - 1), over the
// channels j within RADIUS of i.
// Reads input and output_gradients, writes input_gradients; POSITIONS x CHANNELS elements per
// image in all.
// Dispatch: one invocation per element, in workgroups of 256 neighbouring elements.

override POSITIONS: u32;
override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;

// A workgroup's elements with a margin on both sides, since the channels of a position and
// those of its neighbours follow one another: each N is computed once and not once per reader.
var<workgroup> inputs: array<f32, 256 + 4 * RADIUS>;
var<workgroup> terms: array<f32, 256 + 2 * RADIUS>;
var<workgroup> direct: array<f32, 256>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group_id: vec3u,
    @builtin(num_workgroups) group_count: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let elements = step.images * POSITIONS * CHANNELS;
    let start = linear_group(group_id, group_count) * 256u;

    for (var i = local_index; i < 256u + 4u * RADIUS; i += 256u) {
        // Counted from 2 * RADIUS before the start; that may lie before the first element.
        let place = start + i;
        var x = 0.0;
        if (place >= 2u * RADIUS && place - 2u * RADIUS < elements) {
            x = f32(input[place - 2u * RADIUS]);
        }
        inputs[i] = x;
    }
    workgroupBarrier();

    for (var i = local_index; i < 256u + 2u * RADIUS; i += 256u) {
        let place = start + i;
        if (place >= RADIUS && place - RADIUS < elements) {
            let channel = (place - RADIUS) % CHANNELS;
            var sum = 0.0;
            for (var shift = 0u; shift <= 2u * RADIUS; shift++) {
                // Channels before the first wrap around to very large numbers.
                let x = select(0.0, inputs[i + shift], channel + shift - RADIUS < CHANNELS);
                sum += x * x;
            }
            let scale = BIAS + ALPHA * sum;
            let passed = f32(output_gradients[place - RADIUS]) * power(scale);
            terms[i] = passed * inputs[i + RADIUS] / scale;
            if (i >= RADIUS && i < 256u + RADIUS) {
                direct[i - RADIUS] = passed;
            }
        }
    }
    workgroupBarrier();

    let index = start + local_index;
    if (index < elements) {
        let channel = index % CHANNELS;
        var sum = 0.0;
        for (var shift = 0u; shift <= 2u * RADIUS; shift++) {
            sum += select(0.0, terms[local_index + shift], channel + shift - RADIUS < CHANNELS);
        }
        let x = inputs[local_index + 2u * RADIUS];
        input_gradients[index] = Element(direct[local_index] - 2.0 * ALPHA * BETA * x * sum);
    }
}
