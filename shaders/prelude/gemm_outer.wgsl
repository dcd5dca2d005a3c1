// A tile of a product of matrices that are added up over their rows: a workgroup of COLUMNS x ROWS
// invocations has 8 * ROWS rows of 4 * COLUMNS columns, and adds to their sums 16 terms at a time, which
// are staged in its memory.

override ROWS: u32;
override COLUMNS: u32;
override TILE_VECTORS: u32 = 2u * ROWS;

// Of each vector of 4 rows and of 4 columns 16 terms. The 17th spreads them over the banks.
var<workgroup> staged_rows: array<array<vec4f, 17>, TILE_VECTORS>;
var<workgroup> staged_columns: array<array<vec4f, 17>, COLUMNS>;

// Terms from one of which an invocation stages rows to the next.
override ROW_STEP: u32 = COLUMNS / 2u;

// An invocation's share of 16 terms: a vector of rows of every `ROW_STEP`th, and one of columns of every
// `ROWS`th.
struct Terms { r0: vec4f, r1: vec4f, r2: vec4f, r3: vec4f, c0: vec4f, c1: vec4f, c2: vec4f, c3: vec4f }

fn stage_terms(terms: Terms, local_index: u32) {
    let row = local_index % TILE_VECTORS;
    let row_term = local_index / TILE_VECTORS;
    staged_rows[row][row_term] = terms.r0;
    staged_rows[row][row_term + ROW_STEP] = terms.r1;
    if (COLUMNS < 16u) {
        staged_rows[row][row_term + 2u * ROW_STEP] = terms.r2;
        staged_rows[row][row_term + 3u * ROW_STEP] = terms.r3;
    }
    let column = local_index % COLUMNS;
    let column_term = local_index / COLUMNS;
    staged_columns[column][column_term] = terms.c0;
    if (ROWS < 16u) {
        staged_columns[column][column_term + ROWS] = terms.c1;
    }
    if (ROWS < 8u) {
        staged_columns[column][column_term + 2u * ROWS] = terms.c2;
        staged_columns[column][column_term + 3u * ROWS] = terms.c3;
    }
}
