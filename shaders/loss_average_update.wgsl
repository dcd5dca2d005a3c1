// Moves the averages of the losses towards the losses by a share, REST.
// Reads losses, reads and writes averages; LENGTH elements in both.
// Dispatch: one invocation per loss.

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override LENGTH: u32;
override REST: f32;

@group(0) @binding(0) var<storage, read> losses: array<f32>;
@group(0) @binding(1) var<storage, read_write> averages: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let at = id.x + id.y * groups.x * 256u;
    if (at >= LENGTH) {
        return;
    }
    let average = averages[at];
    averages[at] = average - REST * (average - losses[at]);
}
