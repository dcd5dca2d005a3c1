// The sum of two activations.
// Reads left and right, writes output; LENGTH elements per image in all.
// Dispatch: one invocation per element.

override LENGTH: u32;

@group(0) @binding(0) var<storage, read> left: array<Element>;
@group(0) @binding(1) var<storage, read> right: array<Element>;
@group(0) @binding(2) var<storage, read_write> output: array<Element>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * LENGTH) {
        return;
    }
    output[index] = Element(f32(left[index]) + f32(right[index]));
}
