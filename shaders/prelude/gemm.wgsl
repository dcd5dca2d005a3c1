// A tile of a product of matrices: a workgroup of COLUMNS x ROWS invocations has 8 * ROWS rows of
// 4 * COLUMNS columns, and adds to their sums 16 terms at a time, which are staged in its memory.

override ROWS: u32;
override COLUMNS: u32;
override TILE_ROWS: u32 = 8u * ROWS;

// Of each row 16 terms.
var<workgroup> staged_rows: array<array<vec4f, 4>, TILE_ROWS>;
// Of each vector of 4 columns 16 terms. The 17th spreads columns over the banks.
var<workgroup> staged_columns: array<array<vec4f, 17>, COLUMNS>;

// Rows from one that an invocation stages to the next.
override ROW_STEP: u32 = ROWS * COLUMNS / 4u;

// An invocation's share of the rows: a vector of terms of two, or of four if invocations are fewer.
fn stage_rows(local_index: u32, r0: vec4f, r1: vec4f, r2: vec4f, r3: vec4f) {
    let row = local_index / 4u;
    let vector = local_index % 4u;
    staged_rows[row][vector] = r0;
    staged_rows[row + ROW_STEP][vector] = r1;
    if (COLUMNS < 16u) {
        staged_rows[row + 2u * ROW_STEP][vector] = r2;
        staged_rows[row + 3u * ROW_STEP][vector] = r3;
    }
}

// An invocation's share of the columns: a vector of them in one term, two or four.
fn stage_columns(local_index: u32, c0: vec4f, c1: vec4f, c2: vec4f, c3: vec4f) {
    let column = local_index % COLUMNS;
    let term = local_index / COLUMNS;
    staged_columns[column][term] = c0;
    if (ROWS < 16u) {
        staged_columns[column][term + ROWS] = c1;
    }
    if (ROWS < 8u) {
        staged_columns[column][term + 2u * ROWS] = c2;
        staged_columns[column][term + 3u * ROWS] = c3;
    }
}

// Four terms of a vector of columns.
fn column_terms(column: u32, four: u32) -> mat4x4f {
    return mat4x4f(
        staged_columns[column][4u * four],
        staged_columns[column][4u * four + 1u],
        staged_columns[column][4u * four + 2u],
        staged_columns[column][4u * four + 3u],
    );
}
