//! Einsum: sums of products over named axes, as transposes, reshapes and matrix products.
pub const TABLE: super::Table = &[];
