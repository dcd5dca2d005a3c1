// Products of a few numbers in registers.

// sum + w * x.
fn add_column(sum: vec4f, w: mat4x4f, x: vec4f) -> vec4f {
    return fma(w[3], vec4(x.w), fma(w[2], vec4(x.z), fma(w[1], vec4(x.y), fma(w[0], vec4(x.x), sum))));
}

// sum + w * (a, b, c, d), one column for each.
fn add_columns(sum: mat4x4f, w: mat4x4f, a: vec4f, b: vec4f, c: vec4f, d: vec4f) -> mat4x4f {
    return mat4x4f(
        add_column(sum[0], w, a),
        add_column(sum[1], w, b),
        add_column(sum[2], w, c),
        add_column(sum[3], w, d),
    );
}

// sum + the product of every x, one column for each, and every g.
fn add_outer(sum: mat4x4f, x: vec4f, g: vec4f) -> mat4x4f {
    return mat4x4f(
        fma(g, vec4(x.x), sum[0]),
        fma(g, vec4(x.y), sum[1]),
        fma(g, vec4(x.z), sum[2]),
        fma(g, vec4(x.w), sum[3]),
    );
}
