// Moves the averages of the losses towards the losses by a share, REST.
// Reads losses, reads and writes averages; LENGTH elements in both.
// Dispatch: one invocation per loss.

override LENGTH: u32;
override REST: f32;

@group(0) @binding(0) var<storage, read> losses: array<f32>;
@group(0) @binding(1) var<storage, read_write> averages: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= LENGTH) {
        return;
    }
    let average = averages[index];
    averages[index] = average - REST * (average - losses[index]);
}
