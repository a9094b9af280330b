//! Recurrent: one layer of RNN, GRU or LSTM cells. Inputs: X, W, R and optionally bias, lengths (i32 `[batch]`), initial
//! hidden state, initial cell state, peepholes (the last two LSTM only). Outputs: Y, last hidden state and, of LSTMs, last
//! cell state.
//!
//! | operand | shape | with `batch_first` |
//! |---|---|---|
//! | X | `[steps, batch, inputs]` | `[batch, steps, inputs]` |
//! | W, R | `[directions, inputs, gates · hidden]`, `[directions, hidden, gates · hidden]` | |
//! | bias | `[directions, 2 · gates · hidden]`: that of W, then that of R | |
//! | peepholes | `[directions, 3 · hidden]`: gates i, o, f | |
//! | Y | `[steps, directions, batch, hidden]` | `[batch, steps, directions, hidden]` |
//! | states | `[directions, batch, hidden]` | `[batch, directions, hidden]` |
//!
//! W and R are matrices to multiply with from the right: transposed as compared with ONNX. Gates are in ONNX's order: i,
//! o, f, c of LSTMs, z, r, h of GRUs. With x and h short for their products with W and R plus biases, the cells are
//!
//! - RNN: `h' = f(x + h)`
//! - GRU: `z = f(x + h)`, `r = f(x + h)`, `h' = (1 - z) · g(x + (r · h) R) + z · h`; with `linear_before_reset` the product
//!   with R and its bias come before the multiplication by r
//! - LSTM: `i, f = f(x + h + p · c)`, `c' = f · c + i · g(x + h)`, `o = f(x + h + p · c')`, `h' = o · h(c')`; with
//!   `input_forget` f is 1 - i
//!
//! (Elman 1990; Cho et al., arXiv 1406.1078; Hochreiter and Schmidhuber 1997, Gers and Schmidhuber 2000.) `clip` bounds the
//! arguments of f and g. Steps at or beyond a sequence's length give zeros and leave the states as they are; the
//! reverse direction begins at its last step. All floating-point inputs are f32, f16 or bf16.

mod cell;
#[cfg(feature = "cuda")]
mod cuda;
mod f32;
mod function;
mod step;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare, TensorInfo, widen};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Shape, TensorType};

pub use function::Function;

/// What a cell computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellKind {
    /// A simple recurrent unit.
    Rnn,
    /// A gated recurrent unit.
    Gru,
    /// Long short-term memory.
    Lstm,
}

/// Which way the steps are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first step on.
    Forward,
    /// From the last step back.
    Reverse,
    /// Both, each with weights of its own.
    Both,
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrent {
    /// What a cell computes.
    pub kind: CellKind,
    /// Extent of the hidden state.
    pub hidden: u32,
    /// Which way the steps are taken.
    pub direction: Direction,
    /// GRU: the product with R comes before the reset gate.
    pub linear_before_reset: bool,
    /// LSTM: the forget gate is 1 - the input gate.
    pub input_forget: bool,
    /// Bound on the arguments of f and g; none if it is 0.
    pub clip: f32,
    /// Functions f, g, h, as many as the cell has, for each direction; the usual ones (sigmoid for gates, tanh else) if
    /// empty.
    pub functions: Vec<Function>,
    /// Batch before steps and directions.
    pub batch_first: bool,
}

impl CellKind {
    /// Matrices side by side in W and R.
    pub fn gates(self) -> usize {
        match self {
            CellKind::Rnn => 1,
            CellKind::Gru => 3,
            CellKind::Lstm => 4,
        }
    }

    /// Functions that a cell applies, and their defaults.
    pub fn functions(self) -> &'static [Function] {
        match self {
            CellKind::Rnn => &[Function::TANH],
            CellKind::Gru => &[Function::SIGMOID, Function::TANH],
            CellKind::Lstm => &[Function::SIGMOID, Function::TANH, Function::TANH],
        }
    }
}

impl Direction {
    /// How many ways the steps are taken.
    pub fn count(self) -> usize {
        if self == Direction::Both { 2 } else { 1 }
    }

    /// Whether the `d`-th of them is backwards.
    fn is_reverse(self, d: usize) -> bool {
        self == Direction::Reverse || d == 1
    }
}

impl OpDef for Recurrent {
    type Table<'a> = schema::Recurrent<'a>;
    const NAME: &'static str = "Recurrent";
    const INPUTS: (usize, usize) = (3, 8);

    fn read(t: Self::Table<'_>) -> Result<Self> {
        let unknown = |what: &str, code: u8| Error::version(format!("unknown {what} {code}; a newer library may know it"));
        let kind = match t.kind() {
            0 => CellKind::Rnn,
            1 => CellKind::Gru,
            2 => CellKind::Lstm,
            code => return Err(unknown("cell", code)),
        };
        let direction = match t.direction() {
            0 => Direction::Forward,
            1 => Direction::Reverse,
            2 => Direction::Both,
            code => return Err(unknown("direction", code)),
        };
        let functions = t.activations().iter().flatten().map(Function::read).collect::<Result<Vec<_>>>()?;
        let count = kind.functions().len() * direction.count();
        if !functions.is_empty() && functions.len() != count {
            return Err(Error::format(format!("{} functions; {count} are needed", functions.len())));
        }
        if t.hidden() == 0 || t.hidden() > 1 << 24 {
            return Err(Error::format(format!("a hidden state of {} elements", t.hidden())));
        }
        Ok(Recurrent {
            kind,
            hidden: t.hidden(),
            direction,
            linear_before_reset: t.linear_before_reset(),
            input_forget: t.input_forget(),
            clip: t.clip(),
            functions,
            batch_first: t.batch_first(),
        })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let functions: Vec<_> = self.functions.iter().map(|f| f.write(b)).collect();
        let args = schema::RecurrentArgs {
            kind: self.kind as u8,
            hidden: self.hidden,
            direction: self.direction as u8,
            linear_before_reset: self.linear_before_reset,
            input_forget: self.input_forget,
            clip: self.clip,
            activations: Some(b.create_vector(&functions)),
            batch_first: self.batch_first,
        };
        schema::Recurrent::create(b, &args)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let dtype = inputs.float(0)?.dtype;
        if dtype == DType::F64 {
            return Err(Error::unsupported("recurrent layers of f64; f32, f16 and bf16 are supported"));
        }
        [1, 2, 3, 5, 6, 7].into_iter().try_for_each(|i| inputs.expect_dtype(i, dtype))?;
        inputs.expect_dtype(4, DType::I32)?;
        if self.kind != CellKind::Lstm && (inputs.opt(6).is_some() || inputs.opt(7).is_some()) {
            return Err(Error::invalid("a cell state or peepholes for cells that are not LSTM"));
        }
        let [first, second, width] = &inputs.get(0)?.shape[..] else {
            return Err(Error::shape(format!("X {} has not 3 dimensions", inputs.get(0)?.shape)));
        };
        let (steps, batch) = if self.batch_first { (second, first) } else { (first, second) };
        self.check_operands(inputs, batch, width)?;
        let (directions, hidden) = (Dim::from(self.direction.count()), Dim::Fixed(self.hidden.into()));
        let (y, state) = match self.batch_first {
            false => ([steps, &directions, batch, &hidden], [&directions, batch, &hidden]),
            true => ([batch, steps, &directions, &hidden], [batch, &directions, &hidden]),
        };
        let y = TensorType::new(dtype, Shape::new(y.map(Dim::clone))?);
        let state = TensorType::new(dtype, Shape::new(state.map(Dim::clone))?);
        let mut outputs = vec![y, state.clone()];
        outputs.extend((self.kind == CellKind::Lstm).then_some(state));
        Ok(outputs)
    }

    fn flops(&self, inputs: &[Option<TensorInfo>], _outputs: &[TensorInfo]) -> u64 {
        let [Some(x), Some(w), Some(r), ..] = inputs else { return 0 };
        // Each step of each sequence takes all weights of its input and of its state.
        2 * (x.dims[0] * x.dims[1]) as u64 * (w.numel() + r.numel()) as u64
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        match cx.outputs[0].dtype {
            DType::F32 => f32::prepare(self, cx),
            _ => widen::prepare(self, cx),
        }
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}

impl Recurrent {
    /// Functions of direction `d`.
    fn functions(&self, d: usize) -> &[Function] {
        let defaults = self.kind.functions();
        self.functions.chunks_exact(defaults.len()).nth(d).unwrap_or(defaults)
    }

    /// Checks the shapes of all inputs but X.
    fn check_operands(&self, inputs: &Inputs<'_>, batch: &Dim, width: &Dim) -> Result<()> {
        let (d, h) = (Dim::from(self.direction.count()), Dim::Fixed(self.hidden.into()));
        let gates = h.mul(&self.kind.gates().into());
        let state = if self.batch_first { [batch, &d, &h] } else { [&d, batch, &h] };
        let operands: [(usize, &str, &[&Dim]); 7] = [
            (1, "W", &[&d, width, &gates]),
            (2, "R", &[&d, &h, &gates]),
            (3, "bias", &[&d, &gates.mul(&Dim::Fixed(2))]),
            (4, "lengths", &[batch]),
            (5, "initial hidden state", &state),
            (6, "initial cell state", &state),
            (7, "peepholes", &[&d, &h.mul(&Dim::Fixed(3))]),
        ];
        for (index, name, want) in operands {
            let Some(ty) = inputs.opt(index) else {
                if index < 3 {
                    return Err(Error::invalid(format!("{name} is missing")));
                }
                continue;
            };
            let same = |(a, b): (&Dim, &&Dim)| a.fixed().zip(b.fixed()).is_none_or(|(a, b)| a == b);
            if ty.shape.rank() != want.len() || !ty.shape.iter().zip(want).all(same) {
                let want: Vec<String> = want.iter().map(|d| d.to_string()).collect();
                return Err(Error::shape(format!("{name} {} is not [{}]", ty.shape, want.join(", "))));
            }
        }
        Ok(())
    }
}
