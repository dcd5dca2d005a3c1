// Lion: moves each weight by the learning rate against the sign of what its momentum, a decaying mean of
// the gradients, would be with the newest of them counted more.
// REST_1 and REST_2 are what the direction and the momentum forget of the momentum in a step, 1 - beta.
// DECAY shrinks the weights beside that, at the same rate.
// Reads gradients, reads and writes momentum and weights; LENGTH elements in each.
// Dispatch: one invocation per weight.

override LENGTH: u32;
override REST_1: f32;
override REST_2: f32;
override DECAY: f32;

@group(0) @binding(0) var<storage, read> gradients: array<f32>;
@group(0) @binding(1) var<storage, read_write> momentum: array<f32>;
@group(0) @binding(2) var<storage, read_write> weights: array<f32>;

// -1, 0 or 1; what is not finite stays so, and is found in the weights.
fn sign_of(mean: f32) -> f32 {
    return select(sign(mean), mean, is_not_finite(mean));
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= LENGTH) {
        return;
    }
    let before = momentum[index];
    let change = gradients[index] - before;
    momentum[index] = before + REST_2 * change;
    let weight = weights[index];
    let direction = sign_of(before + REST_1 * change) + DECAY * weight;
    weights[index] = weight - step.learning_rate * direction;
}
