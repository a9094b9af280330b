//! MatMul: `activation(alpha · A · B + bias + residual)` with the shapes of `numpy.matmul`. Inputs: A, B, optional bias
//! (anything that broadcasts to the output), optional residual (of the output's shape).
//!
//! A is `[.., M, K]`, or `[.., K, M]` with `transpose_a`; B is `[.., K, N]`, or `[.., N, K]` with `transpose_b`; the
//! dimensions before these broadcast. An operand of rank 1 is a row (A) or a column (B), is never transposed, and adds no
//! dimension to the output. All inputs have one element type: any but bool and integers of less than 32 bits; integers
//! wrap, f16 and bf16 accumulate in f32. An activation, or an `alpha` other than 1, needs f32, f16 or bf16.
//! ONNX Gemm is lowered to this operator.

mod cpu;
#[cfg(feature = "cuda")]
pub(super) mod cuda;
mod f32;
mod operands;
mod plain;
mod shape;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare, TensorInfo, activation};
use crate::cpu::Activation;
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Shape, TensorType};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct MatMul {
    /// A's last two dimensions are swapped.
    pub transpose_a: bool,
    /// B's last two dimensions are swapped.
    pub transpose_b: bool,
    /// Factor of the product.
    pub alpha: f32,
    /// Applied last.
    pub activation: Activation,
}

impl Default for MatMul {
    fn default() -> Self {
        MatMul { transpose_a: false, transpose_b: false, alpha: 1.0, activation: Activation::None }
    }
}

impl OpDef for MatMul {
    type Table<'a> = schema::MatMul<'a>;
    const NAME: &'static str = "MatMul";
    const INPUTS: (usize, usize) = (2, 4);

    fn read(t: Self::Table<'_>) -> Result<Self> {
        Ok(MatMul {
            transpose_a: t.transpose_a(),
            transpose_b: t.transpose_b(),
            alpha: t.alpha(),
            activation: activation::read(t.activation())?,
        })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let args = schema::MatMulArgs {
            transpose_a: self.transpose_a,
            transpose_b: self.transpose_b,
            alpha: self.alpha,
            activation: activation::write(self.activation, b),
        };
        schema::MatMul::create(b, &args)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let dtype = inputs.same_dtype()?;
        self.check_dtype(dtype)?;
        let shape = self.output(&inputs.get(0)?.shape, &inputs.get(1)?.shape)?;
        if let Some(bias) = inputs.opt(2) {
            let fits = |wide: Shape| wide.rank() == shape.rank() && compatible(&wide, &shape);
            if !shape.broadcast(&bias.shape).is_ok_and(fits) {
                return Err(Error::shape(format!("the bias {} does not broadcast to {shape}", bias.shape)));
            }
        }
        if let Some(residual) = inputs.opt(3)
            && (residual.shape.rank() != shape.rank() || !compatible(&residual.shape, &shape))
        {
            return Err(Error::shape(format!("the residual {} is not of the output's shape {shape}", residual.shape)));
        }
        Ok(vec![TensorType::new(dtype, shape)])
    }

    fn flops(&self, inputs: &[Option<TensorInfo>], outputs: &[TensorInfo]) -> u64 {
        let [Some(a), ..] = inputs else { return 0 };
        let depth = match &a.dims[..] {
            [.., k, _] if self.transpose_a => *k,
            dims => dims.last().copied().unwrap_or(0),
        };
        2 * outputs.first().map_or(0, TensorInfo::numel) as u64 * depth as u64
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        cpu::prepare(self, cx)
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}

/// Whether no dimension has two different numbers.
fn compatible(a: &[Dim], b: &[Dim]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.fixed().zip(b.fixed()).is_none_or(|(a, b)| a == b))
}

impl MatMul {
    fn check_dtype(&self, dtype: DType) -> Result<()> {
        use DType::*;
        if !matches!(dtype, F32 | F64 | F16 | BF16 | I32 | I64 | U32 | U64) {
            return Err(Error::dtype(format!("products of {dtype} are not supported; cast to i32 or a float")));
        }
        let plain = self.activation == Activation::None && self.alpha == 1.0;
        if !plain && !matches!(dtype, F32 | F16 | BF16) {
            return Err(Error::unsupported(format!("alpha or an activation on {dtype}; f32, f16 and bf16 have them")));
        }
        Ok(())
    }

    /// Shape of the product.
    fn output(&self, a: &Shape, b: &Shape) -> Result<Shape> {
        if a.rank() == 0 || b.rank() == 0 {
            return Err(Error::shape(format!("the product of {a} and {b}: scalars have no matrix product")));
        }
        let (a_batch, m, ka) = split(a, self.transpose_a, false);
        let (b_batch, kb, n) = split(b, self.transpose_b, true);
        if ka.fixed().zip(kb.fixed()).is_some_and(|(a, b)| a != b) {
            return Err(Error::shape(format!("the product of {a} and {b}: A has {ka} columns, B has {kb} rows")));
        }
        let mut dims: Vec<Dim> = Shape::new(a_batch)?.broadcast(b_batch)?.into();
        dims.extend((a.rank() > 1).then_some(m));
        dims.extend((b.rank() > 1).then_some(n));
        Shape::new(dims)
    }
}

/// Batch dimensions, rows and columns of an operand, the last two as they are after the transposition.
fn split(shape: &Shape, transpose: bool, column: bool) -> (&[Dim], Dim, Dim) {
    match &shape[..] {
        [batch @ .., c, r] if transpose => (batch, r.clone(), c.clone()),
        [batch @ .., r, c] => (batch, r.clone(), c.clone()),
        [k] if column => (&[], k.clone(), Dim::Fixed(1)),
        [k] => (&[], Dim::Fixed(1), k.clone()),
        [] => (&[], Dim::Fixed(1), Dim::Fixed(1)),
    }
}
