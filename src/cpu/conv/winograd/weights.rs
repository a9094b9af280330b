//! Weights as Winograd's algorithm multiplies them: one P16 matrix for each element of a tile.

use super::transform::{IN, PLANES, weight_tile};
use crate::cpu::Isa;
use crate::cpu::gemm::kernel::PANEL;
use crate::cpu::gemm::{packed_len, panels};
use crate::cpu::simd::{Machine, Vector, Work};
use crate::error::{Error, Result};
use std::ops::Range;

/// Elements of the transformed weights of a 3 x 3 convolution: four times the packed ones.
///
/// # Errors
/// The size overflows.
pub fn winograd_len(in_channels: usize, out_channels: usize) -> Result<usize> {
    let too_large = || Error::no_memory("the transformed weights exceed the address space");
    packed_len(out_channels, in_channels)?
        .checked_mul(PLANES)
        .filter(|&n| n <= isize::MAX as usize / 4)
        .ok_or_else(too_large)
}

/// Transforms `panels` of packed 3 x 3 weights `[out_channels/16][9 * in_channels][16]`, into their places in
/// `transformed`. Ranges of panels may be transformed at the same time.
///
/// # Safety
/// - The CPU has `isa`; `packed` has the packed weights of at least `panels.end` panels.
/// - `transformed` has [`winograd_len`] elements; nothing else accesses the places of these panels meanwhile.
pub unsafe fn winograd_weights(
    isa: Isa,
    (in_channels, out_channels): (usize, usize),
    packed: *const f32,
    panel_range: Range<usize>,
    transformed: *mut f32,
) {
    let plane = panels(out_channels) * PANEL * in_channels;
    isa.dispatch(Transform { in_channels, plane, panels: panel_range, packed, transformed });
}

struct Transform {
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
        let taps = self.in_channels * PANEL;
        for panel in self.panels {
            // SAFETY: the promises of `winograd_weights`' caller.
            unsafe {
                let from = self.packed.add(panel * 9 * taps);
                let to = self.transformed.add(panel * taps);
                for i in (0..taps).step_by(M::Vector::LANES) {
                    weight_tile::<M::Vector>(
                        |row, column| M::Vector::load(from.add((row * 3 + column) * taps + i)),
                        |row, column, x| x.store(to.add((row * IN + column) * self.plane + i)),
                    );
                }
            }
        }
    }
}
