// Multiplies and adds in registers, as fast as the adapter can.
// Reads values, writes results; LENGTH elements per image in both. Each result is the sum of 12
// chains of 8 * ROUNDS steps `x = FACTOR * x + value`, which begin at 0, 1, .., 11.
// Dispatch: one invocation per element.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override LENGTH: u32;
override ROUNDS: u32;

@group(0) @binding(0) var<storage, read> values: array<Element>;
@group(0) @binding(1) var<storage, read_write> results: array<Element>;
@group(1) @binding(0) var<uniform> step: Step;

// Chains that come to rest, whatever the value.
const FACTOR = vec4<f32>(0.5);

fn four_steps(x: vec4<f32>, value: vec4<f32>) -> vec4<f32> {
    return fma(FACTOR, fma(FACTOR, fma(FACTOR, fma(FACTOR, x, value), value), value), value);
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let at = id.x + id.y * groups.x * 256u;
    if (at >= step.images * LENGTH) {
        return;
    }
    let value = vec4<f32>(f32(values[at]));
    var a = vec4<f32>(0.0, 1.0, 2.0, 3.0);
    var b = vec4<f32>(4.0, 5.0, 6.0, 7.0);
    var c = vec4<f32>(8.0, 9.0, 10.0, 11.0);
    for (var round = 0u; round < ROUNDS; round++) {
        a = four_steps(four_steps(a, value), value);
        b = four_steps(four_steps(b, value), value);
        c = four_steps(four_steps(c, value), value);
    }
    let sum = a + b + c;
    results[at] = Element(sum.x + sum.y + sum.z + sum.w);
}
