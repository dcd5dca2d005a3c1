//! WGSL forms of which a workgroup computes a tile of a product of matrices.

use compute::kernel::{Constants, Variant, linear_workgroups};

/// What the forms of a kernel have in common that differ in their tiles.
pub(crate) struct Tiled {
    /// The name of the file.
    pub(crate) name: &'static str,
    /// The text.
    pub(crate) wgsl: &'static str,
    /// Rows of sums that an invocation has, of 4 columns each.
    pub(crate) rows_each: usize,
    /// Whether they can do these sizes.
    pub(crate) applies: fn(&Constants) -> bool,
    /// How many products there are for this many images, and their rows and columns.
    pub(crate) products: fn(&Constants, usize) -> [usize; 3],
}

impl Tiled {
    /// One of them.
    pub(crate) const fn form(
        self,
        name: &'static str,
        tuning: &'static [(&'static str, f64)],
        workgroups: fn(&Constants, usize) -> [u32; 3],
    ) -> Variant {
        Variant { name, wgsl: self.wgsl, tuning, applies: self.applies, workgroups }
    }
}

/// The sums that a workgroup computes. Invocations and workgroups both follow from it.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// Rows.
    pub(crate) rows: usize,
    /// Columns.
    pub(crate) columns: usize,
}

impl Tile {
    /// The `override`s ROWS and COLUMNS, which are a workgroup's invocations in y and x, where each has
    /// so many rows of 4 sums.
    pub(crate) const fn invocations(self, rows_each: usize) -> [(&'static str, f64); 2] {
        assert!(self.rows.is_multiple_of(rows_each) && self.columns.is_multiple_of(4));
        [("ROWS", (self.rows / rows_each) as f64), ("COLUMNS", (self.columns / 4) as f64)]
    }

    /// Workgroups for so many products of this many rows and columns.
    pub(crate) fn workgroups(self, [products, rows, columns]: [usize; 3]) -> [u32; 3] {
        let tiles = rows.div_ceil(self.rows) * columns.div_ceil(self.columns);
        linear_workgroups(products * tiles, 1)
    }
}

/// The form with tiles of so many rows and columns, after which it is named: `tiled!(TILED, 64 x 32)`.
macro_rules! tiled {
    ($forms:ident, $rows:literal x $columns:literal) => {{
        const TILE: $crate::tiled::Tile = $crate::tiled::Tile { rows: $rows, columns: $columns };
        const NAME: &[&str] = &[$forms.name, "_", stringify!($rows), "x", stringify!($columns)];
        const BYTES: [u8; $crate::prelude::total_len(NAME)] = $crate::prelude::joined(NAME);
        $forms.form(
            $crate::prelude::text(&BYTES),
            &const { TILE.invocations($forms.rows_each) },
            |c, images| TILE.workgroups(($forms.products)(c, images)),
        )
    }};
}
pub(crate) use tiled;

#[cfg(test)]
mod tests {
    use super::*;

    const FORMS: Tiled = Tiled {
        name: "tiled",
        wgsl: "",
        rows_each: 8,
        applies: |_| true,
        products: |c, images| [c.size("PRODUCTS"), images, 40],
    };

    #[test]
    fn name_invocations_and_workgroups_follow_from_the_tile() {
        let form = tiled!(FORMS, 64 x 32);
        assert_eq!(form.name, "tiled_64x32");
        assert_eq!(form.tuning, [("ROWS", 8.0), ("COLUMNS", 8.0)]);
        let constants = Constants::default().with("PRODUCTS", 3);
        // Two rows of tiles and two columns of each product.
        assert_eq!((form.workgroups)(&constants, 65), [12, 1, 1]);
    }
}
