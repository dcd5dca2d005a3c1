// Notes in which step a stretch of 4,096 values first held one that is infinite or no number.
// Reads LENGTH values; reads and writes one of TOTAL flags for each stretch, from OFFSET on: where
// it is still 0 it becomes the number of steps, this one included.
// Dispatch: one workgroup per stretch, in one dimension folded into two.
// The bits are looked at: a driver may take for granted that no value is infinite or no number.

override LENGTH: u32;
override OFFSET: u32;

const STRETCH = 4096u;
const EXPONENT = 0x7f800000u;

@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read_write> flags: array<u32>;

var<workgroup> found: array<u32, 256>;

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
        if ((bitcast<u32>(values[i]) & EXPONENT) == EXPONENT) {
            any = 1u;
        }
    }
    found[local_index] = any;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local_index < half) {
            found[local_index] |= found[local_index + half];
        }
    }
    if (local_index == 0u && found[0] != 0u && flags[OFFSET + stretch] == 0u) {
        flags[OFFSET + stretch] = step.step + 1u;
    }
}
