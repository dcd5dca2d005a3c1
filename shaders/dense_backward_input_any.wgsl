// The derivative of a dense layer of any size by its input.
//
// Reads output_gradients and weights; writes input_gradients.
// Dispatch: one invocation per element of the input, in one dimension folded into two.
// Untiled: neighbouring invocations load the same gradients and neighbouring rows of weights.

@group(0) @binding(0) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 64u);
    let image = index / INPUTS;
    if (image >= step.images) {
        return;
    }
    let gradients_at = image * OUTPUTS;
    let weights_at = index % INPUTS * OUTPUTS;
    var sum = 0.0;
    for (var i = 0u; i < OUTPUTS; i++) {
        sum = fma(f32(output_gradients[gradients_at + i]), weights[weights_at + i], sum);
    }
    input_gradients[index] = Element(sum);
}
