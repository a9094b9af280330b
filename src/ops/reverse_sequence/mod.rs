//! ReverseSequence: reverses the beginning of each sequence of a batch. Inputs: data of rank 2 or more, lengths (i64
//! vector, one per sequence).
//!
//! One of the first two axes counts the sequences, the other one their steps. The first `lengths[b]` steps of sequence `b`
//! are reversed, the others stay. A length outside `0..=steps` is an error when the model runs.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare, kernel};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{Args, DType, Element, Grid, TensorType};

/// Bytes of output worth a part of their own.
const GRAIN: usize = 64 * 1024;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct ReverseSequence {
    /// The axis that counts the sequences: 0 or 1.
    pub batch_axis: i64,
    /// The axis that counts the steps: the other one.
    pub time_axis: i64,
}

impl Default for ReverseSequence {
    /// Time first.
    fn default() -> Self {
        ReverseSequence { batch_axis: 1, time_axis: 0 }
    }
}

impl OpDef for ReverseSequence {
    type Table<'a> = schema::ReverseSequence<'a>;
    const NAME: &'static str = "ReverseSequence";
    const INPUTS: (usize, usize) = (2, 2);

    fn read(table: Self::Table<'_>) -> Result<Self> {
        Ok(ReverseSequence { batch_axis: table.batch_axis().into(), time_axis: table.time_axis().into() })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let (batch_axis, time_axis) = (self.batch_axis as i32, self.time_axis as i32);
        schema::ReverseSequence::create(b, &schema::ReverseSequenceArgs { batch_axis, time_axis })
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let (x, lengths) = (inputs.get(0)?, inputs.get(1)?);
        inputs.expect_dtype(1, DType::I64)?;
        if x.shape.rank() < 2 || lengths.shape.rank() != 1 {
            return Err(Error::shape(format!("sequences {x} with lengths {lengths}; at least rank 2 and rank 1 are needed")));
        }
        let (batch, time) = (x.shape.axis(self.batch_axis)?, x.shape.axis(self.time_axis)?);
        if !matches!((batch, time), (0, 1) | (1, 0)) {
            return Err(Error::unsupported(format!("axis {batch} counts sequences and {time} steps; 0 and 1 are supported")));
        }
        match (x.shape[batch].fixed(), lengths.shape[0].fixed()) {
            (Some(a), Some(b)) if a != b => Err(Error::shape(format!("{b} lengths for {a} sequences"))),
            _ => Ok(vec![TensorType::new(x.dtype, x.shape.clone())]),
        }
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        let (dims, size) = (cx.dims(0), cx.outputs[0].dtype.size());
        let steps = Steps { time_first: self.is_time_first(dims.len()), dims: [dims[0], dims[1]] };
        let len = dims[2..].iter().product::<usize>();
        Ok(kernel(Grid::by_cost(dims[0] * dims[1], len * size, GRAIN), move |args| match size {
            1 => steps.run::<u8>(args, len),
            2 => steps.run::<u16>(args, len),
            4 => steps.run::<u32>(args, len),
            _ => steps.run::<u64>(args, len),
        }))
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(cx, self.is_time_first(cx.dims(0).len()))
    }
}

impl ReverseSequence {
    /// Whether the first axis of data of rank `rank` counts steps.
    fn is_time_first(&self, rank: usize) -> bool {
        self.time_axis.rem_euclid(rank as i64) == 0
    }
}

#[derive(Clone, Copy)]
struct Steps {
    time_first: bool,
    dims: [usize; 2],
}

impl Steps {
    fn run<T: Element>(&self, args: &mut Args<'_>, len: usize) -> Result<()> {
        let (from, lengths) = (args.words::<T>(0), args.input::<i64>(1));
        let mut tile = args.output_words::<T>(0);
        let [_, inner] = self.dims;
        let steps = self.dims[usize::from(!self.time_first)];
        for row in tile.rows() {
            let (i, j) = (row / inner, row % inner);
            let (batch, time) = if self.time_first { (j, i) } else { (i, j) };
            let length = lengths[batch];
            if !(0..=steps as i64).contains(&length) {
                return Err(Error::invalid(format!("length {length} of sequence {batch}, which has {steps} steps")));
            }
            let source = if time < length as usize { length as usize - 1 - time } else { time };
            let at = if self.time_first { source * inner + j } else { i * inner + source };
            tile.row(row).copy_from_slice(&from[at * len..(at + 1) * len]);
        }
        Ok(())
    }
}
