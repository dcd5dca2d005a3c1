// Scales gradients so that the norm of all gradients of the model is at most NORM.
// Reads squares, the sum of the squares of all of them; reads and writes LENGTH gradients.
// Dispatch: one invocation per gradient.

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override LENGTH: u32;
override NORM: f32;

@group(0) @binding(0) var<storage, read> squares: array<f32>;
@group(0) @binding(1) var<storage, read_write> gradients: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let at = id.x + id.y * groups.x * 256u;
    if (at >= LENGTH) {
        return;
    }
    let norm = sqrt(squares[0]);
    if (norm > NORM) {
        gradients[at] *= NORM / norm;
    }
}
