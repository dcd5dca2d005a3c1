// Which stretches of values hold one that is infinite or no number, found by a workgroup of 256 each.

const STRETCH = 4096u;
const EXPONENT = 0x7f800000u;

var<workgroup> found: array<u32, 256>;

// By the bits: a driver may take for granted that no value is infinite or no number.
fn is_not_finite(value: f32) -> bool {
    return (bitcast<u32>(value) & EXPONENT) == EXPONENT;
}

// Whether an invocation found any, in the first invocation. To be called by all of a workgroup, once.
fn any_of_lanes(local_index: u32, lane: u32) -> bool {
    found[local_index] = lane;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local_index < half) {
            found[local_index] |= found[local_index + half];
        }
    }
    return found[local_index] != 0u;
}
