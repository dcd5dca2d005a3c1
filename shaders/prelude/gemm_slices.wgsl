// A tile of a product of matrices of which there are few: a workgroup of COLUMNS x ROWS x SLICES
// invocations has 4 * ROWS rows of 4 * COLUMNS columns, and adds to their sums 32 terms at a time, which
// are staged in its memory. Each slice takes some of the terms; at the end their sums are added in order.

override ROWS: u32;
override COLUMNS: u32;
const SLICES: u32 = 4u;
override TILE_ROWS: u32 = 4u * ROWS;

// Of each row 32 terms.
var<workgroup> staged_rows: array<array<vec4f, 8>, TILE_ROWS>;
// Of each vector of 4 columns 32 terms. The 33rd spreads columns over the banks.
var<workgroup> staged_columns: array<array<vec4f, 33>, COLUMNS>;

// The sums of a slice: of each row of invocations 4 rows of each vector of columns.
override SLICE_VECTORS: u32 = 4u * ROWS * COLUMNS;
var<workgroup> slice_sums: array<vec4f, SLICE_VECTORS>;

// Four terms of a vector of columns.
fn column_terms(column: u32, four: u32) -> mat4x4f {
    return mat4x4f(
        staged_columns[column][4u * four],
        staged_columns[column][4u * four + 1u],
        staged_columns[column][4u * four + 2u],
        staged_columns[column][4u * four + 3u],
    );
}

// The sums of all slices, in the invocations of the first. To be called by all of a workgroup.
fn sum_of_slices(slice: mat4x4f, local_id: vec3u) -> mat4x4f {
    var sums = slice;
    let at = 4u * local_id.y * COLUMNS + local_id.x;
    for (var other = 1u; other < SLICES; other++) {
        if (local_id.z == other) {
            slice_sums[at] = sums[0];
            slice_sums[at + COLUMNS] = sums[1];
            slice_sums[at + 2u * COLUMNS] = sums[2];
            slice_sums[at + 3u * COLUMNS] = sums[3];
        }
        workgroupBarrier();
        if (local_id.z == 0u) {
            sums[0] += slice_sums[at];
            sums[1] += slice_sums[at + COLUMNS];
            sums[2] += slice_sums[at + 2u * COLUMNS];
            sums[3] += slice_sums[at + 3u * COLUMNS];
        }
        workgroupBarrier();
    }
    return sums;
}
