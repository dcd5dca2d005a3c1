// Scales gradients so that the norm of all gradients of the model is at most NORM.
// Reads squares, the sum of the squares of all of them; reads and writes LENGTH gradients.
// Dispatch: one invocation per gradient.

override LENGTH: u32;
override NORM: f32;

@group(0) @binding(0) var<storage, read> squares: array<f32>;
@group(0) @binding(1) var<storage, read_write> gradients: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= LENGTH) {
        return;
    }
    let norm = sqrt(squares[0]);
    if (norm > NORM) {
        gradients[index] *= NORM / norm;
    }
}
