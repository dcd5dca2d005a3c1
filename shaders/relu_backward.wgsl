// The derivative of rectified linear units: the gradient passes where the output is positive.
// Reads output and output_gradients, writes input_gradients; LENGTH elements per image in all.
// Dispatch: one invocation per element.

override LENGTH: u32;

@group(0) @binding(0) var<storage, read> output: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * LENGTH) {
        return;
    }
    let gradient = f32(output_gradients[index]);
    input_gradients[index] = Element(select(0.0, gradient, f32(output[index]) > 0.0));
}
