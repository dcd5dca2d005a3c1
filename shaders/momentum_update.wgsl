// Gradient descent with momentum: adds the gradients to what is left of their earlier sum, and
// moves the weights against that; with NESTEROV 1, against where it will be a step later.
// Reads gradients, reads and writes momentum and weights; LENGTH elements in each.
// Dispatch: one invocation per weight.

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override LENGTH: u32;
override MOMENTUM: f32;
override NESTEROV: u32;

@group(0) @binding(0) var<storage, read> gradients: array<f32>;
@group(0) @binding(1) var<storage, read_write> momentum: array<f32>;
@group(0) @binding(2) var<storage, read_write> weights: array<f32>;
@group(1) @binding(0) var<uniform> step: Step;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let at = id.x + id.y * groups.x * 256u;
    if (at >= LENGTH) {
        return;
    }
    let gradient = gradients[at];
    let sum = MOMENTUM * momentum[at] + gradient;
    momentum[at] = sum;
    var direction = sum;
    if (NESTEROV != 0u) {
        direction = MOMENTUM * sum + gradient;
    }
    weights[at] = weights[at] - step.learning_rate * direction;
}
