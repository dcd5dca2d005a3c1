// Gradient descent with momentum: adds the gradients to what is left of their earlier sum, and
// moves the weights against that; with NESTEROV 1, against where it will be a step later.
// Reads gradients, reads and writes momentum and weights; LENGTH elements in each.
// Dispatch: one invocation per weight.

override LENGTH: u32;
override MOMENTUM: f32;
override NESTEROV: u32;

@group(0) @binding(0) var<storage, read> gradients: array<f32>;
@group(0) @binding(1) var<storage, read_write> momentum: array<f32>;
@group(0) @binding(2) var<storage, read_write> weights: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= LENGTH) {
        return;
    }
    let gradient = gradients[index];
    let sum = MOMENTUM * momentum[index] + gradient;
    momentum[index] = sum;
    var direction = sum;
    if (NESTEROV != 0u) {
        direction = MOMENTUM * sum + gradient;
    }
    weights[index] = weights[index] - step.learning_rate * direction;
}
