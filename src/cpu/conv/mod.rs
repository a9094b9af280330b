//! Convolutions of channels-last `f32` tensors, for up to three spatial dimensions.
//!
//! [`Conv::new`] plans a convolution of known shape; the plan is cheap to make and holds no memory. It runs in phases;
//! the parts of a phase are independent and may run in any order on any thread, and all of a phase must end before the
//! next begins. Weights are arranged as [`WeightLayout`] says.
//!
//! | convolution | algorithm |
//! |---|---|
//! | 1 x 1, stride 1 | matrix product on the input as it is |
//! | dense | matrix product on rows of pointers ([`patches`]) |
//! | groups of 16 channels or more, or of 8 under unusual windows | the same for each group, by [`wide`] |
//! | few input channels, or channels first | sums over copies of strips of the input with their padding ([`strips`]) |
//! | depthwise | [`depthwise`] |
//! | 3 x 3, stride 1, where transformed weights are worth their memory | [`winograd`] |
//! | 1 x 1, then depthwise | both by [`Expanded`], where a plan finds the pair |
//! | other groups of fewer than 16 channels | [`grouped`] |
#![allow(unsafe_code, reason = "kernels with raw pointers to disjoint parts of one output")]
#![allow(clippy::needless_range_loop, reason = "loops over registers are unrolled by constant index")]

mod columns;
mod dense;
mod depthwise;
mod expanded;
mod grouped;
mod lines;
mod patches;
mod pool;
pub mod shape;
mod strips;
#[cfg(test)]
mod tests;
mod weights;
mod wide;
mod winograd;

use super::gemm::Output;
use super::gemm::kernel::PANEL;
use super::{Isa, Target};
use crate::error::{Error, Result};
use dense::Dense;
use depthwise::Depthwise;
use grouped::Grouped;
use strips::Strips;
use wide::Wide;
use winograd::Winograd;

pub use expanded::Expanded;
pub use pool::{Pool, PoolArgs, PoolKind};
pub use shape::{ConvShape, Spatial, Window};
pub use weights::WeightLayout;
pub use winograd::{winograd_len, winograd_weights};

/// How the input of a convolution is arranged. The output is always channels last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InputLayout {
    /// `[batch, spatial.., channels]`.
    ChannelsLast {
        /// Elements from one pixel to the next: at least the channels.
        stride: usize,
    },
    /// `[batch, channels, spatial..]`, contiguous. For the first convolution of a model, whose channels are few.
    ChannelsFirst,
}

/// The operands of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct ConvArgs {
    /// First element of the input.
    pub input: *const f32,
    /// The weights, in their [`WeightLayout`].
    pub weights: *const f32,
    /// The output, one row per pixel, `stride` elements apart, with bias, residual and activation.
    pub output: Output,
}

/// The operand that is `elements` further, if there is one.
fn after(operand: *const f32, elements: usize) -> *const f32 {
    if operand.is_null() { operand } else { operand.wrapping_add(elements) }
}

/// A convolution of known shape on a known instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    algorithm: Algorithm,
}

#[derive(Clone, Copy, Debug)]
enum Algorithm {
    Dense(Dense),
    Depthwise(Depthwise),
    Grouped(Grouped),
    Strips(Strips),
    Wide(Wide),
    Winograd(Winograd),
}

/// The same call on whichever algorithm it is.
macro_rules! each {
    ($conv:expr, $plan:ident => $call:expr) => {
        match &$conv.algorithm {
            Algorithm::Dense($plan) => $call,
            Algorithm::Depthwise($plan) => $call,
            Algorithm::Grouped($plan) => $call,
            Algorithm::Strips($plan) => $call,
            Algorithm::Wide($plan) => $call,
            Algorithm::Winograd($plan) => $call,
        }
    };
}

impl Conv {
    /// Plans a convolution.
    ///
    /// # Errors
    /// The shape is not that of a convolution, a size overflows, or its channels come first and
    /// [`Conv::reads_channels_first`] denies it.
    pub fn new(target: Target, shape: &ConvShape, layout: InputLayout) -> Result<Conv> {
        let (isa, output) = (target.isa, shape.output()?);
        let stride = match layout {
            InputLayout::ChannelsLast { stride } => Some(stride),
            InputLayout::ChannelsFirst => None,
        };
        let few = shape.in_channels < PANEL && !shape.window.is_identity();
        if Strips::fits(shape) && (few || stride.is_none()) {
            return Ok(Conv { algorithm: Algorithm::Strips(Strips::new(isa, shape, stride, output)?) });
        }
        let Some(stride) = stride else {
            return Err(Error::unsupported("a convolution of groups or long sums reads channels-last input only"));
        };
        let algorithm = if shape.groups == 1 {
            Algorithm::Dense(Dense::new(target, shape, stride, output)?)
        } else if WeightLayout::of_shape(shape) == WeightLayout::Panels {
            Algorithm::Wide(Wide::new(isa, shape, stride, output)?)
        } else if shape.group_in() == 1 && shape.group_out() == 1 {
            Algorithm::Depthwise(Depthwise::new(target, shape, stride, output))
        } else if let Some(isa) = Wide::for_halves(isa, shape).filter(|_| !Grouped::keeps_columns(isa, &shape.window)) {
            Algorithm::Wide(Wide::new(isa, shape, stride, output)?)
        } else {
            Algorithm::Grouped(Grouped::new(isa, shape, stride, output))
        };
        Ok(Conv { algorithm })
    }

    /// Whether a convolution of this shape can read its input channels first.
    pub fn reads_channels_first(shape: &ConvShape) -> bool {
        Strips::fits(shape)
    }

    /// Plans a convolution by Winograd's algorithm, whose weights are those of [`winograd_weights`]; None where it does
    /// not apply, or is not expected to be faster than [`Conv::new`]. Rounding errors are about three times those of a
    /// direct convolution.
    ///
    /// # Errors
    /// As [`Conv::new`].
    pub fn winograd(isa: Isa, shape: &ConvShape, layout: InputLayout) -> Result<Option<Conv>> {
        let InputLayout::ChannelsLast { stride } = layout else { return Ok(None) };
        let plan = Winograd::new(isa, shape, stride)?;
        Ok(plan.map(|plan| Conv { algorithm: Algorithm::Winograd(plan) }))
    }

    /// Number of phases.
    pub fn phases(&self) -> usize {
        each!(self, plan => plan.phases())
    }

    /// Number of parts of a phase; none where the output is empty.
    pub fn parts(&self, phase: usize) -> usize {
        each!(self, plan => plan.parts(phase))
    }

    /// Bytes of workspace that all parts share and that lives through all phases. It need not be initialised.
    pub fn shared_bytes(&self) -> usize {
        each!(self, plan => plan.shared_bytes())
    }

    /// Bytes of scratch memory for each part that runs at the same time. It need not be initialised.
    pub fn scratch_bytes(&self) -> usize {
        each!(self, plan => plan.scratch_bytes())
    }

    /// Runs one part of one phase.
    ///
    /// # Safety
    /// - `phase < phases()`, `part < parts(phase)`, and all parts of earlier phases have ended.
    /// - The operands have the extents of the shape that was planned: weights as many elements as
    ///   [`WeightLayout::len`], the bias one per output channel, and the residual the extents of the output.
    /// - Nothing else accesses this part of the output meanwhile; the output overlaps no other operand, except that the
    ///   residual may be exactly the output.
    /// - `shared` and `scratch` are aligned to 64 bytes and have their sizes; `scratch` belongs to this call.
    pub unsafe fn run(&self, phase: usize, part: usize, args: &ConvArgs, shared: *mut u8, scratch: *mut u8) {
        // SAFETY: the caller's promises.
        unsafe { each!(self, plan => plan.run(phase, part, args, shared, scratch)) }
    }
}
