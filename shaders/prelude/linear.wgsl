// Workgroups and invocations in one dimension, of a dispatch that is folded into two because none may
// have more than 65,535 workgroups.

// The number of a workgroup.
fn linear_group(group_id: vec3u, group_count: vec3u) -> u32 {
    return group_id.x + group_id.y * group_count.x;
}

// The number of an invocation, where a workgroup is `size` of them in a row.
fn linear_index(global_id: vec3u, group_count: vec3u, size: u32) -> u32 {
    return global_id.x + global_id.y * group_count.x * size;
}
