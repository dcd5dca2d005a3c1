// Multiplies and adds in registers, as fast as the adapter can.
// Reads values, writes results; LENGTH elements per image in both. Each result is the sum of 12
// chains of 8 * ROUNDS steps `x = FACTOR * x + value`, which begin at 0, 1, .., 11.
// Dispatch: one invocation per element.

override LENGTH: u32;
override ROUNDS: u32;

@group(0) @binding(0) var<storage, read> values: array<Element>;
@group(0) @binding(1) var<storage, read_write> results: array<Element>;

// Chains that come to rest, whatever the value.
const FACTOR = vec4f(0.5);

fn four_steps(x: vec4f, value: vec4f) -> vec4f {
    return fma(FACTOR, fma(FACTOR, fma(FACTOR, fma(FACTOR, x, value), value), value), value);
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * LENGTH) {
        return;
    }
    let value = vec4f(f32(values[index]));
    var a = vec4f(0.0, 1.0, 2.0, 3.0);
    var b = vec4f(4.0, 5.0, 6.0, 7.0);
    var c = vec4f(8.0, 9.0, 10.0, 11.0);
    for (var round = 0u; round < ROUNDS; round++) {
        a = four_steps(four_steps(a, value), value);
        b = four_steps(four_steps(b, value), value);
        c = four_steps(four_steps(c, value), value);
    }
    let sum = a + b + c;
    results[index] = Element(sum.x + sum.y + sum.z + sum.w);
}
