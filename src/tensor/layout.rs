//! How the bytes of a constant are arranged. Dimensions are always the logical ones.

use super::{DType, Dims};
use crate::error::{Error, Result};

/// Arrangement of a constant's elements. The packed ones are the operands of matrix products and convolutions in
/// panels of [`PANEL`] output channels, zero-padded, which every instruction set reads without repacking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// Row-major, the last dimension contiguous.
    #[default]
    RowMajor,
    /// Right operand `[.., K, N]` of a matrix product: per matrix `[N/16][K][16]`.
    Panels,
    /// Convolution weights `[OC, taps.., IC/groups]`: per group `[OC/groups/16][taps * IC/groups][16]`.
    ConvPanels {
        /// Groups of the convolution.
        groups: u32,
    },
    /// Depthwise convolution weights `[C, taps.., 1]`: `[C/16][taps][16]`.
    Depthwise,
}

/// Output channels in a panel.
pub const PANEL: usize = 16;

impl Layout {
    /// The number that stands for the layout in model files.
    pub fn code(self) -> u8 {
        match self {
            Layout::RowMajor => 0,
            Layout::Panels => 1,
            Layout::ConvPanels { .. } => 2,
            Layout::Depthwise => 3,
        }
    }

    /// The layout with number `code`.
    pub fn from_code(code: u8, groups: u32) -> Result<Self> {
        match code {
            0 => Ok(Layout::RowMajor),
            1 => Ok(Layout::Panels),
            2 if groups > 0 => Ok(Layout::ConvPanels { groups }),
            3 => Ok(Layout::Depthwise),
            _ => Err(Error::format(format!("unknown weight layout {code} with {groups} groups"))),
        }
    }

    /// Bytes of a tensor in this layout; None if the layout does not fit the dimensions or the size does not fit.
    pub fn byte_len(self, dtype: DType, dims: &Dims) -> Option<usize> {
        let product = |dims: &[usize]| dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let elements = match self {
            Layout::RowMajor => product(dims)?,
            Layout::Panels => {
                let [batch @ .., k, n] = &dims[..] else { return None };
                product(batch)?.checked_mul(*k)?.checked_mul(n.checked_next_multiple_of(PANEL)?)?
            }
            Layout::ConvPanels { groups } => {
                let (groups, [oc, k @ ..]) = (groups as usize, &dims[..]) else { return None };
                if groups == 0 || oc % groups != 0 {
                    return None;
                }
                let padded = (oc / groups).checked_next_multiple_of(PANEL)?;
                product(k)?.checked_mul(padded)?.checked_mul(groups)?
            }
            Layout::Depthwise => {
                let [c, taps @ ..] = &dims[..] else { return None };
                c.checked_next_multiple_of(PANEL)?.checked_mul(product(taps)?)?
            }
        };
        elements.checked_mul(dtype.size())
    }
}
