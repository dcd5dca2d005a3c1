//! The product of two matrices on the thread at hand.

use gemm_common::Parallelism;
use gemm_f32::gemm::f32::get_gemm_fn;

/// A matrix over part of a tensor.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of this many columns, one after the other.
    pub(crate) fn new(values: &'a [f32], columns: usize) -> Self {
        let rows = values.len() / columns;
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same numbers with rows for columns.
    pub(crate) fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// `out = left * right`, the rows of `out` one after the other.
pub(crate) fn product(out: &mut [f32], left: Matrix<'_>, right: Matrix<'_>) {
    assert_eq!(left.columns, right.rows, "the inner sizes of a product");
    assert_eq!(out.len(), left.rows * right.columns, "the size of a product");
    // What is called takes products whose columns lie side by side. One whose rows do so is that of the
    // transposed factors in turn.
    let out_columns = right.columns;
    let (left, right) =
        if out_columns > 1 { (right.transposed(), left.transposed()) } else { (left, right) };
    // SAFETY: every matrix has its rows x columns elements inside the slice it was made of, at
    // these strides, and `out`, borrowed for writing, overlaps neither factor.
    unsafe {
        get_gemm_fn()(
            left.rows,
            right.columns,
            left.columns,
            out.as_mut_ptr(),
            out_columns as isize,
            1,
            false,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_strided_matrices() {
        let (left, right) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 2.0, 1.0, 0.0, 3.0]);
        let mut out = [0.0; 4];
        product(&mut out, Matrix::new(&left, 3), Matrix::new(&right, 2));
        assert_eq!(out, [5.0, 11.0, 14.0, 23.0]);
        let transposed = Matrix::new(&left, 2).transposed();
        product(&mut out, transposed, Matrix::new(&right, 2));
        assert_eq!(out, [7.0, 18.0, 10.0, 22.0]);
        let mut column = [0.0; 2];
        product(&mut column, Matrix::new(&left, 3), Matrix::new(&right[2..5], 1));
        assert_eq!(column, [4.0, 13.0]);
    }
}
