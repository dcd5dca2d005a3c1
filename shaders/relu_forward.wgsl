// Rectified linear units: negative numbers become zero. What is no number stays that.
// Reads input, writes output; LENGTH elements per image in both.
// Dispatch: one invocation per element.

override LENGTH: u32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read_write> output: array<Element>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * LENGTH) {
        return;
    }
    let x = f32(input[index]);
    // By its bits, from those of -0.0 to those of minus infinity: a driver may make a maximum of a
    // comparison, which hides what is no number.
    let is_negative = bitcast<u32>(x) - 0x80000000u <= 0x7f800000u;
    output[index] = Element(select(x, 0.0, is_negative));
}
