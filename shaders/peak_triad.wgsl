// Streams through memory, as fast as the adapter can: output = left + FACTOR * right.
// Reads left and right, writes output; VECTORS of 4 elements per image in all.
// Dispatch: one invocation per vector.

override VECTORS: u32;

@group(0) @binding(0) var<storage, read> left: array<vec4<Element>>;
@group(0) @binding(1) var<storage, read> right: array<vec4<Element>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<Element>>;

const FACTOR = 3.0;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * VECTORS) {
        return;
    }
    output[index] = vec4<Element>(vec4f(left[index]) + FACTOR * vec4f(right[index]));
}
