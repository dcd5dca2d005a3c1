// Adds values onto sums.
// Reads values, reads and writes sums; LENGTH elements per image in both.
// Dispatch: one invocation per element.

override LENGTH: u32;

@group(0) @binding(0) var<storage, read_write> sums: array<Element>;
@group(0) @binding(1) var<storage, read> values: array<Element>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * LENGTH) {
        return;
    }
    sums[index] = Element(f32(sums[index]) + f32(values[index]));
}
