// Stochastic gradient descent: moves the weights against their gradients.
// Reads gradients, reads and writes weights; LENGTH elements in both.
// Dispatch: one invocation per weight.

override LENGTH: u32;

@group(0) @binding(0) var<storage, read> gradients: array<f32>;
@group(0) @binding(1) var<storage, read_write> weights: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= LENGTH) {
        return;
    }
    weights[index] = weights[index] - step.learning_rate * gradients[index];
}
