//! Convolutions of one tensor whose results are added are one convolution: models that are trained with several branches
//! for each of their convolutions (RepVGG, MobileOne, FastViT) need only the sum of the weights to be run.
//!
//! The taps of a smaller kernel are some of a larger one's. The weights of each channel by itself are the diagonal of those
//! of all channels, and a tensor that is added to its own convolution is a kernel of one tap and weight 1.

use super::epilogues::Linear;
use super::rewrite::{Rewriter, Rule};
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::{Binary, Conv, Op};
use infer::tensor::DType;

/// The rule of this file.
pub const RULES: &[Rule] = &[merged];

/// Outputs in place of an operator's, if a rule applies.
type Replaced = Result<Option<Vec<ValueId>>>;

/// A convolution with constant weights that only the sum reads.
struct Branch {
    conv: Conv,
    input: ValueId,
    /// `[out channels, taps.., channels / groups]`.
    dims: Vec<usize>,
    weights: Vec<f32>,
    bias: Option<ValueId>,
    residual: Option<ValueId>,
}

impl Branch {
    /// The convolution that makes `value`.
    fn of(r: &Rewriter<'_>, value: ValueId) -> Option<Branch> {
        let Linear { op: Op::Conv(conv), inputs: [Some(input), Some(weights), bias, residual] } = Linear::of(r, value)?
        else {
            return None;
        };
        let extents = r.b.dims(weights);
        let dims = extents.iter().map(|d| usize::try_from(d.fixed()?).ok()).collect::<Option<_>>()?;
        let weights = r.b.elements::<f32>(weights)?;
        let known = !conv.channels_first_input && bias.is_none_or(|b| r.b.is_constant(b));
        known.then_some(Branch { conv, input, dims, weights, bias, residual })
    }

    /// The convolution that changes nothing of this one's input, which has as many channels as its output.
    fn identity(&self) -> Branch {
        let mut dims = vec![1; self.dims.len()];
        dims[0] = self.dims[0];
        let weights = vec![1.0; dims[0]];
        let conv = Conv { groups: self.conv.groups * self.rows().1 as u32, ..Conv::default() };
        Branch { conv, input: self.input, dims, weights, bias: None, residual: None }
    }

    /// The spatial dimensions.
    fn spatial(&self) -> std::ops::Range<usize> {
        0..self.dims.len() - 2
    }

    /// Whether each channel is convolved by itself.
    fn of_each_channel(&self) -> bool {
        self.dims[0] == self.conv.groups as usize && self.dims[self.dims.len() - 1] == 1
    }

    /// Along spatial dimension `i`, the tap at which the first of another convolution's is, if it has all of them.
    fn start(&self, other: &Branch, i: usize) -> Option<usize> {
        let (own, others) = (&self.conv.window, &other.conv.window);
        let (step, taps) = (own.dilation(i), other.dims[i + 1]);
        let distance = own.pad(i).0.checked_sub(others.pad(i).0)?;
        let alike = own.stride(i) == others.stride(i) && (taps == 1 || step == others.dilation(i));
        let start = distance / step;
        (alike && distance % step == 0 && start + taps <= self.dims[i + 1]).then_some(start)
    }

    /// The weights that this convolution needs to do what another of the same input does, if they are as many.
    fn weights_for(&self, other: &Branch) -> Option<Vec<f32>> {
        let groups_fit = self.conv.groups == other.conv.groups || other.of_each_channel();
        if self.input != other.input || self.dims.len() != other.dims.len() || !groups_fit {
            return None;
        }
        let starts = self.spatial().map(|i| self.start(other, i)).collect::<Option<Vec<_>>>()?;
        let (taps, channels) = self.rows();
        let (other_taps, other_channels) = other.rows();
        let mut weights = vec![0.0; self.weights.len()];
        for (row, from) in other.weights.chunks_exact(other_channels).enumerate() {
            let (output, tap) = (row / other_taps, self.tap(other, &starts, row % other_taps));
            // One channel by itself is the one of its group that has the output's number.
            let channel = if channels == other_channels { 0 } else { output % channels };
            let at = (output * taps + tap) * channels + channel;
            weights[at..at + other_channels].copy_from_slice(from);
        }
        Some(weights)
    }

    /// Number of taps, and of weights for each.
    fn rows(&self) -> (usize, usize) {
        let last = self.dims.len() - 1;
        (self.dims[1..last].iter().product(), self.dims[last])
    }

    /// The tap that is tap `of` of another convolution, whose first is at `starts`.
    fn tap(&self, other: &Branch, starts: &[usize], of: usize) -> usize {
        let (mut rest, mut tap, mut step) = (of, 0, 1);
        for i in self.spatial().rev() {
            let extent = other.dims[i + 1];
            tap += (starts[i] + rest % extent) * step;
            rest /= extent;
            step *= self.dims[i + 1];
        }
        tap
    }

    /// The bias, zeros where there is none.
    fn offsets(&self, r: &mut Rewriter<'_>) -> Result<ValueId> {
        match self.bias {
            Some(bias) => Ok(bias),
            None => r.b.array(&self.dims[..1], &vec![0.0f32; self.dims[0]]),
        }
    }
}

/// The sum or the difference of two convolutions of one tensor, or of one and the tensor itself.
fn merged(r: &mut Rewriter<'_>, op: &Op, inputs: &[Option<ValueId>]) -> Replaced {
    let (Op::Binary(b), &[Some(x), Some(y)]) = (op, inputs) else { return Ok(None) };
    let adds = matches!(b.kind, BinaryKind::Add | BinaryKind::Sub);
    if !adds || r.b.dtype(x) != DType::F32 || r.b.ty(x).shape != r.b.ty(y).shape {
        return Ok(None);
    }
    let (left, right) = match (Branch::of(r, x), Branch::of(r, y)) {
        (Some(left), Some(right)) => (left, right),
        (Some(left), None) if left.input == y => {
            let right = left.identity();
            (left, right)
        }
        (None, Some(right)) if right.input == x => (right.identity(), right),
        _ => return Ok(None),
    };
    let residual = match (left.residual, right.residual) {
        (residual, None) => residual,
        (None, residual) if b.kind == BinaryKind::Add => residual,
        _ => return Ok(None),
    };
    let (whole, weights) = match (left.weights_for(&right), right.weights_for(&left)) {
        (Some(placed), _) => (&left, [left.weights.clone(), placed]),
        (_, Some(placed)) => (&right, [placed, right.weights.clone()]),
        _ => return Ok(None),
    };
    let combine = Binary::from(b.kind);
    let weights = [r.b.array(&whole.dims, &weights[0])?, r.b.array(&whole.dims, &weights[1])?];
    let weights = r.emit1(combine.clone(), &weights)?;
    let bias = match left.bias.or(right.bias) {
        Some(_) => {
            let offsets = [left.offsets(r)?, right.offsets(r)?];
            Some(r.emit1(combine, &offsets)?)
        }
        None => None,
    };
    let inputs = [Some(whole.input), Some(weights), bias, residual];
    Linear { op: whole.conv.clone().into(), inputs }.with_activation(b.activation).emit(r)
}
