// Notes in which step a stretch of 4,096 values first held one that is infinite or no number.
// Reads LENGTH values; reads and writes one of TOTAL flags for each stretch, from OFFSET on: where
// it is still 0 it becomes the number of steps, this one included.
// Dispatch: one workgroup per stretch, in one dimension folded into two.

override LENGTH: u32;
override OFFSET: u32;

@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read_write> flags: array<u32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group_id: vec3u,
    @builtin(num_workgroups) group_count: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let stretch = linear_group(group_id, group_count);
    let start = stretch * STRETCH;
    let end = min(start + STRETCH, LENGTH);
    var any = 0u;
    for (var i = start + local_index; i < end; i += 256u) {
        any |= u32(is_not_finite(values[i]));
    }
    let is_found = any_of_lanes(local_index, any);
    if (local_index == 0u && is_found && flags[OFFSET + stretch] == 0u) {
        flags[OFFSET + stretch] = step.step + 1u;
    }
}
