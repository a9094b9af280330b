//! Element types, symbolic dimensions and shapes, tensor types and views. Knows nothing of graphs or operators.

mod buffer;
mod census;
mod dim;
mod dtype;
mod layout;
mod types;
mod view;

#[cfg(feature = "write")]
pub(crate) use buffer::HUGE_PAGE;
pub use buffer::{Blob, Buffer};
pub use census::Census;
pub use dim::{Bindings, Dim, DimCode, Names, Poly, Sym};
pub use dtype::{DType, Element};
pub use layout::{Layout, PANEL};
pub use types::{Dims, Shape, TensorType, normalize_axis};
pub use view::{Args, Grid, OutView, Tile, View, run_parts};

/// The largest rank a tensor may have (as `INFER_MAX_RANK` of the C API).
pub const MAX_RANK: usize = 8;
