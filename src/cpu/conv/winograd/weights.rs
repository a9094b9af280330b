//! Weights as Winograd's algorithm multiplies them: one P16 matrix for each element of a tile.

use super::transform::{IN, PLANES, weight_tile};
use crate::cpu::Isa;
use crate::cpu::conv::shape::ConvShape;
use crate::cpu::gemm::kernel::PANEL;
use crate::cpu::gemm::{packed_len, panels};
use crate::cpu::simd::{Machine, Vector, Work};
use crate::error::{Error, Result};
use std::ops::Range;

/// Elements of the transformed weights of a 3 x 3 convolution: four times the packed ones.
///
/// # Errors
/// The size overflows.
pub fn winograd_len(shape: &ConvShape) -> Result<usize> {
    let too_large = || Error::no_memory("the transformed weights exceed the address space");
    packed_len(shape.out_channels, shape.window.kernel[0] * shape.in_channels)?
        .checked_mul(PLANES)
        .filter(|&n| n <= isize::MAX as usize / 4)
        .ok_or_else(too_large)
}

/// Transforms `panels` of packed weights `[out_channels/16][taps][3][3][in_channels][16]`, with taps along the depth,
/// into their places in `transformed`. Ranges of panels may be transformed at the same time.
///
/// # Safety
/// - The CPU has `isa`; `packed` has the packed weights of at least `panels.end` panels.
/// - `transformed` has [`winograd_len`] elements; nothing else accesses the places of these panels meanwhile.
pub unsafe fn winograd_weights(
    isa: Isa,
    shape: &ConvShape,
    packed: *const f32,
    panel_range: Range<usize>,
    transformed: *mut f32,
) {
    let (taps, in_channels) = (shape.window.kernel[0], shape.in_channels);
    let plane = panels(shape.out_channels) * PANEL * taps * in_channels;
    isa.dispatch(Transform { taps, in_channels, plane, panels: panel_range, packed, transformed });
}

struct Transform {
    taps: usize,
    in_channels: usize,
    plane: usize,
    panels: Range<usize>,
    packed: *const f32,
    transformed: *mut f32,
}

impl Work for Transform {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let tap_len = self.in_channels * PANEL;
        // Each tap along the depth of a panel is a window of its own.
        for window in self.panels.start * self.taps..self.panels.end * self.taps {
            // SAFETY: the promises of `winograd_weights`' caller.
            unsafe {
                let from = self.packed.add(window * 9 * tap_len);
                let to = self.transformed.add(window * tap_len);
                for i in (0..tap_len).step_by(M::Vector::LANES) {
                    weight_tile::<M::Vector>(
                        |row, column| M::Vector::load(from.add((row * 3 + column) * tap_len + i)),
                        |row, column, x| x.store(to.add((row * IN + column) * self.plane + i)),
                    );
                }
            }
        }
    }
}
