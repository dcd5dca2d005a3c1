// The derivative of a decay term: adds FACTOR times the weights to their gradients.
// Reads weights, reads and writes gradients; LENGTH elements in both.
// Dispatch: one invocation per weight.

override LENGTH: u32;
override FACTOR: f32;

@group(0) @binding(0) var<storage, read> weights: array<f32>;
@group(0) @binding(1) var<storage, read_write> gradients: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= LENGTH) {
        return;
    }
    gradients[index] += FACTOR * weights[index];
}
