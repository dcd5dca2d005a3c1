// The derivative of a dense layer of any size by its weights.
//
// Reads input and output_gradients; writes weight_gradients, or adds to them.
// Dispatch: one invocation per weight, the outputs fastest, in one dimension folded into two.
// Untiled: neighbouring invocations load neighbouring gradients and the same inputs.

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read_write> weight_gradients: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 64u);
    if (index >= INPUTS * OUTPUTS) {
        return;
    }
    var sum = 0.0;
    for (var image = 0u; image < step.images; image++) {
        let x = f32(input[image * INPUTS + index / OUTPUTS]);
        sum = fma(x, f32(output_gradients[image * OUTPUTS + index % OUTPUTS]), sum);
    }
    sum *= GRADIENT_UNIT;
    if (step.accumulate != 0u) {
        sum += weight_gradients[index];
    }
    weight_gradients[index] = sum;
}
