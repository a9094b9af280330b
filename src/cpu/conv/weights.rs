//! Arrangements of convolution weights.
//!
//! Which one a convolution uses depends on its channels and groups only, so that it can be chosen once, when a model is
//! converted.

use super::shape::ConvShape;
use crate::cpu::gemm::kernel::PANEL;
use crate::cpu::gemm::{Matrix, pack, packed_len, panels, unpack};
use crate::error::{Error, Result};

/// How the weights of a convolution, logically `[out_channels, taps, in_channels / groups]`, are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightLayout {
    /// Per group: panels of 16 output channels, `[groups][group_out/16][taps * group_in][16]`.
    Panels,
    /// Narrow groups share panels: `[out_channels/16][taps * group_in][16]`. Depthwise weights are `[C/16][taps][16]`.
    Grouped,
}

impl WeightLayout {
    /// The layout for a convolution.
    pub fn of(groups: usize, group_in: usize, group_out: usize) -> Self {
        if groups > 1 && group_in < PANEL && group_out < PANEL { WeightLayout::Grouped } else { WeightLayout::Panels }
    }

    /// The layout for a convolution of this shape.
    pub fn of_shape(shape: &ConvShape) -> Self {
        Self::of(shape.groups, shape.group_in(), shape.group_out())
    }

    /// Matrices of `n` rows each into which the output channels are divided.
    fn matrices(self, groups: usize, out_channels: usize) -> (usize, usize) {
        match self {
            WeightLayout::Panels => (groups, out_channels / groups),
            WeightLayout::Grouped => (1, out_channels),
        }
    }

    /// Elements of the packed weights; `k` is taps times input channels of a group.
    ///
    /// # Errors
    /// The size overflows.
    pub fn len(self, groups: usize, out_channels: usize, k: usize) -> Result<usize> {
        let (count, n) = self.matrices(groups, out_channels);
        let too_large =
            || Error::no_memory(format!("weights of {out_channels} x {k} elements exceed the address space"));
        packed_len(n, k)?.checked_mul(count).filter(|&len| len <= isize::MAX as usize / 4).ok_or_else(too_large)
    }

    /// Packs `[out_channels, k]` weights, k in the order (taps, input channels). Panics if a length does not fit.
    pub fn pack(self, weights: &[f32], groups: usize, k: usize, packed: &mut [f32]) {
        let out_channels = weights.len().checked_div(k).unwrap_or(0);
        let (_, n) = self.matrices(groups, out_channels);
        if n * k == 0 {
            return;
        }
        let group_len = panels(n) * PANEL * k;
        for (from, to) in weights.chunks_exact(n * k).zip(packed.chunks_exact_mut(group_len)) {
            pack(&Matrix::transposed(from, k, n), 0..panels(n), to);
        }
    }

    /// The exact inverse of [`WeightLayout::pack`]. Panics if a length does not fit.
    pub fn unpack(self, packed: &[f32], groups: usize, k: usize, weights: &mut [f32]) {
        let out_channels = weights.len().checked_div(k).unwrap_or(0);
        let (_, n) = self.matrices(groups, out_channels);
        if n * k == 0 {
            return;
        }
        let mut columns = vec![0.0; n * k];
        for (from, to) in packed.chunks_exact(panels(n) * PANEL * k).zip(weights.chunks_exact_mut(n * k)) {
            unpack(from, k, n, &mut columns);
            for (i, x) in to.iter_mut().enumerate() {
                *x = columns[i % k * n + i / k];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_is_exact_in_every_layout() {
        for (groups, group_in, group_out, taps) in
            [(1, 3, 20, 9), (2, 16, 24, 4), (40, 1, 1, 9), (6, 4, 4, 3), (1, 1, 1, 1)]
        {
            let (layout, k) = (WeightLayout::of(groups, group_in, group_out), taps * group_in);
            let weights: Vec<f32> = (0..groups * group_out * k).map(|i| i as f32 + 1.0).collect();
            let mut packed = vec![f32::NAN; layout.len(groups, groups * group_out, k).unwrap()];
            layout.pack(&weights, groups, k, &mut packed);
            assert!(packed.iter().all(|x| !x.is_nan()));
            let mut back = vec![0.0; weights.len()];
            layout.unpack(&packed, groups, k, &mut back);
            assert_eq!(back, weights, "{layout:?}");
        }
        assert!(WeightLayout::Panels.len(3, usize::MAX / 2, 9).is_err());
    }
}
