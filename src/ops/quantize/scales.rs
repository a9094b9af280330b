//! Which scale (and zero point) belongs to which element: one for all, one per index along an axis, or one per block of
//! neighbours along an axis.

use crate::error::{Error, Result};
use crate::ops::elementwise::{BLOCK, Number, for_type};
use crate::ops::{Inputs, TensorInfo};
use crate::tensor::{Args, DType, Dim, Shape, normalize_axis};
use std::ops::Range;

/// Where the scales of a tensor are; the index space of the tensor is seen as `[outer, extent of the axis, inner]`.
#[derive(Clone, Copy, Debug)]
pub struct Scales {
    form: Form,
    extent: usize,
    inner: usize,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    One,
    Axis,
    /// Blocks of this many elements along the axis.
    Blocks(usize),
}

/// Neighbouring elements whose scales are neighbours too, or the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The elements.
    pub elements: Range<usize>,
    /// Index of the first element's scale.
    pub first: usize,
    /// Whether all have that scale.
    pub same: bool,
}

/// The scales or zero points of a stretch.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// The same for all elements.
    One(f32),
    /// One for each element.
    Each(&'a [f32]),
}

/// Checks that inputs 1 (scale) and 2 (zero point, may be absent) belong to input 0.
pub fn check(inputs: &Inputs<'_>, axis: i64, block: usize) -> Result<()> {
    let (x, scale) = (&inputs.get(0)?.shape, &inputs.float(1)?.shape);
    if let Some(zero) = inputs.opt(2)
        && let (Some(n), Some(m)) = (zero.shape.numel().fixed(), scale.numel().fixed())
        && n != m
    {
        return Err(Error::shape(format!("the zero point is {}, and the scale {scale}", zero.shape)));
    }
    if scale.numel() == Dim::Fixed(1) {
        return Ok(());
    }
    let axis = normalize_axis(axis, x.rank())?;
    let want = if block == 0 { Shape::new([x[axis].clone()])? } else { blocked(x, axis, block)? };
    let differs = |(a, b): (&Dim, &Dim)| matches!((a.fixed(), b.fixed()), (Some(a), Some(b)) if a != b);
    if scale.rank() != want.rank() || scale.iter().zip(want.iter()).any(differs) {
        return Err(Error::shape(format!("the scale of {x} along axis {axis} is {scale}; {want} is needed")));
    }
    Ok(())
}

/// Shape of the scales of blocks along an axis.
fn blocked(x: &Shape, axis: usize, block: usize) -> Result<Shape> {
    let mut dims = x.to_vec();
    dims[axis] = dims[axis].ceil_div(&Dim::from(block));
    Shape::new(dims)
}

impl Scales {
    /// The scales of `x` with a scale tensor of the given shape.
    pub fn new(x: &TensorInfo, scale: &TensorInfo, axis: i64, block: usize) -> Result<Self> {
        if scale.numel() == 1 {
            return Ok(Scales { form: Form::One, extent: 1, inner: 1 });
        }
        let axis = normalize_axis(axis, x.dims.len())?;
        let form = if block == 0 { Form::Axis } else { Form::Blocks(block) };
        Ok(Scales { form, extent: x.dims[axis], inner: x.dims[axis + 1..].iter().product() })
    }

    /// What kernels for a GPU take, with scales and zero points of these types: Scales of `scales.cuh`.
    #[cfg(feature = "cuda")]
    pub fn words(self, scale: DType, zero: Option<DType>) -> [u32; 6] {
        let (form, block) = match self.form {
            Form::One => (0, 1),
            Form::Axis => (1, 1),
            Form::Blocks(block) => (2, block as u32),
        };
        [form, self.extent as u32, self.inner as u32, block, scale as u32, zero.map_or(0, |zero| zero as u32)]
    }

    /// The elements `range`, at most [`BLOCK`] at a time, with their scales.
    pub fn stretches(self, range: Range<usize>) -> impl Iterator<Item = Stretch> {
        let mut start = range.start;
        std::iter::from_fn(move || {
            let limit = range.end.min(start + BLOCK);
            let (len, first, same) = self.at(start);
            let elements = start..limit.min(start.saturating_add(len));
            start = elements.end;
            (!elements.is_empty()).then_some(Stretch { elements, first, same })
        })
    }

    /// From element `i` on: how many have scales in a row, the first scale, and whether they share it.
    fn at(&self, i: usize) -> (usize, usize, bool) {
        let Scales { form, extent, inner } = *self;
        let (outer, along, rest) = (i / (extent * inner).max(1), i / inner.max(1) % extent.max(1), i % inner.max(1));
        match form {
            Form::One => (usize::MAX, 0, true),
            Form::Axis if inner == 1 => (extent - along, along, false),
            Form::Axis => (inner - rest, along, true),
            Form::Blocks(block) => {
                let first = (outer * extent.div_ceil(block) + along / block) * inner + rest;
                if inner == 1 {
                    (extent.min((along / block + 1) * block) - along, first, true)
                } else {
                    (inner - rest, first, false)
                }
            }
        }
    }
}

impl Stretch {
    /// The elements of an input that belong to this stretch.
    pub fn load<'a>(&self, args: &Args<'_>, input: usize, buffer: &'a mut [f32; BLOCK]) -> Values<'a> {
        let Some(dtype) = args.view(input).map(|v| v.dtype()) else { return Values::One(0.0) };
        let n = if self.same { 1 } else { self.elements.len() };
        for_type!(dtype, load(args, input, self.first..self.first + n, buffer));
        if self.same { Values::One(buffer[0]) } else { Values::Each(&buffer[..n]) }
    }
}

/// Elements of an input as f32.
pub fn load<T: Number>(args: &Args<'_>, input: usize, range: Range<usize>, buffer: &mut [f32; BLOCK]) {
    for (y, x) in buffer.iter_mut().zip(&args.input::<T>(input)[range]) {
        *y = x.to_f64() as f32;
    }
}

/// Whether tensors are quantized to this type.
pub fn is_quantized(dtype: DType) -> bool {
    matches!(dtype, DType::U8 | DType::I8 | DType::U16 | DType::I16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Dims;

    #[test]
    fn each_element_has_its_scale() {
        let info = |dims: &[usize]| TensorInfo { dtype: DType::F32, dims: Dims::new(dims) };
        let cases: [(&[usize], usize, &[usize]); 8] = [
            (&[2, 5, 3], 0, &[5]),
            (&[2, 5, 1], 0, &[5]),
            (&[2, 5], 0, &[1]),
            (&[2, 5, 3], 2, &[2, 3, 3]),
            (&[2, 6, 3], 3, &[2, 2, 3]),
            (&[2, 5], 2, &[2, 3]),
            (&[3, 3000], 0, &[3000]),
            (&[2, 3000], 7, &[2, 429]),
        ];
        for (dims, block, scale) in cases {
            let scales = Scales::new(&info(dims), &info(scale), 1, block).unwrap();
            let (extent, inner) = (dims[1], dims[2..].iter().product::<usize>());
            let want = |i: usize| {
                let (outer, along, rest) = (i / extent / inner, i / inner % extent, i % inner);
                match block {
                    _ if scale == [1] => 0,
                    0 => along,
                    _ => (outer * extent.div_ceil(block) + along / block) * inner + rest,
                }
            };
            let total: usize = dims.iter().product();
            for start in [0, 1, total / 2, total] {
                let mut next = start;
                for s in scales.stretches(start..total) {
                    for (k, i) in s.elements.enumerate() {
                        assert_eq!((i, s.first + if s.same { 0 } else { k }), (next, want(i)), "{dims:?} {block}");
                        next += 1;
                    }
                }
                assert_eq!(next, total);
            }
        }
    }
}
