//! Builds one graph of a program: what importers and passes emit goes through here, and is folded on the way.
//!
//! An operator whose inputs are all constants is evaluated at once, and one whose outputs are known by shape
//! arithmetic alone becomes a constant, so later stages see neither.

use infer::cpu::isa::Isa;
use infer::error::{Error, Result};
use infer::graph::{Constant, Graph, GraphId, Program, ValueId};
use infer::ops::{Op, Reshape, Tensor, Transpose, evaluate};
use infer::tensor::{DType, Dim, Element, Layout, TensorType};

/// Evaluating an operator may add at most this many bytes to what its inputs took.
const FOLD_GROWTH: usize = 4 << 20;

/// Emits operators into one graph of a program.
pub struct Builder<'p> {
    /// The program.
    pub program: &'p mut Program,
    /// The graph that receives what is emitted.
    pub graph: GraphId,
    /// Name for the nodes that are emitted: that of the source node.
    pub node: String,
}

impl<'p> Builder<'p> {
    /// A builder for a graph of a program.
    pub fn new(program: &'p mut Program, graph: GraphId) -> Self {
        Builder { program, graph, node: String::new() }
    }

    /// The graph.
    pub fn g(&self) -> &Graph {
        &self.program.graphs[self.graph.0 as usize]
    }

    /// The graph, to be changed.
    pub fn g_mut(&mut self) -> &mut Graph {
        &mut self.program.graphs[self.graph.0 as usize]
    }

    /// Type of a value.
    pub fn ty(&self, value: ValueId) -> &TensorType {
        &self.g().value(value).ty
    }

    /// Element type of a value.
    pub fn dtype(&self, value: ValueId) -> DType {
        self.ty(value).dtype
    }

    /// Rank of a value.
    pub fn rank(&self, value: ValueId) -> usize {
        self.ty(value).shape.rank()
    }

    /// Dimensions of a value.
    pub fn dims(&self, value: ValueId) -> Vec<Dim> {
        self.ty(value).shape.to_vec()
    }

    /// Data of a value that is a row-major constant.
    pub fn constant(&self, value: ValueId) -> Option<Tensor> {
        self.g().value(value).constant.as_ref()?.tensor()
    }

    /// Elements of a constant of type `T`; None if the value is not one.
    pub fn elements<T: Element>(&self, value: ValueId) -> Option<Vec<T>> {
        let tensor = self.constant(value)?;
        T::represents(tensor.info.dtype).then(|| tensor.elements::<T>().to_vec())
    }

    /// The integers of a tensor whose elements are known (a constant, or by shape arithmetic).
    pub fn known_ints(&self, value: ValueId) -> Option<Vec<i64>> {
        self.ty(value).fixed_value()
    }

    /// The single element of a constant as a number, whatever its element type.
    pub fn known_scalar(&self, value: ValueId) -> Option<f64> {
        let tensor = self.constant(value)?;
        if tensor.info.numel() != 1 {
            return None;
        }
        Some(match tensor.info.dtype {
            DType::F32 => tensor.elements::<f32>()[0].into(),
            DType::F64 => tensor.elements::<f64>()[0],
            DType::F16 => tensor.elements::<half::f16>()[0].into(),
            DType::BF16 => tensor.elements::<half::bf16>()[0].into(),
            DType::I64 => tensor.elements::<i64>()[0] as f64,
            DType::I32 => tensor.elements::<i32>()[0].into(),
            DType::I8 => tensor.elements::<i8>()[0].into(),
            DType::I16 => tensor.elements::<i16>()[0].into(),
            DType::U8 | DType::Bool => tensor.elements::<u8>()[0].into(),
            DType::U16 => tensor.elements::<u16>()[0].into(),
            DType::U32 => tensor.elements::<u32>()[0].into(),
            DType::U64 => tensor.elements::<u64>()[0] as f64,
        })
    }

    /// Adds a constant.
    pub fn tensor(&mut self, tensor: Tensor) -> ValueId {
        self.g_mut().add_constant("", Constant::from(tensor))
    }

    /// Adds a constant of the given elements.
    pub fn array<T: Element>(&mut self, dims: &[usize], elements: &[T]) -> Result<ValueId> {
        Ok(self.tensor(Tensor::new(dims, elements)?))
    }

    /// Adds a vector of i64.
    pub fn ints(&mut self, elements: &[i64]) -> Result<ValueId> {
        self.array(&[elements.len()], elements)
    }

    /// Adds a scalar of element type `dtype` whose value is `x`, rounded as a conversion rounds.
    pub fn scalar(&mut self, dtype: DType, x: f64) -> Result<ValueId> {
        match dtype {
            DType::F32 => self.array(&[], &[x as f32]),
            DType::F64 => self.array(&[], &[x]),
            DType::F16 => self.array(&[], &[half::f16::from_f64(x)]),
            DType::BF16 => self.array(&[], &[half::bf16::from_f64(x)]),
            DType::I8 => self.array(&[], &[x as i8]),
            DType::I16 => self.array(&[], &[x as i16]),
            DType::I32 => self.array(&[], &[x as i32]),
            DType::I64 => self.array(&[], &[x as i64]),
            DType::U8 => self.array(&[], &[x as u8]),
            DType::U16 => self.array(&[], &[x as u16]),
            DType::U32 => self.array(&[], &[x as u32]),
            DType::U64 => self.array(&[], &[x as u64]),
            DType::Bool => {
                let mut tensor = Tensor::new(&[], &[u8::from(x != 0.0)])?;
                tensor.info.dtype = DType::Bool;
                Ok(self.tensor(tensor))
            }
        }
    }

    /// Emits an operator and returns its outputs.
    pub fn emit(&mut self, op: impl Into<Op>, inputs: &[Option<ValueId>]) -> Result<Vec<ValueId>> {
        let op = op.into();
        if let Some(outputs) = self.fold(&op, inputs)? {
            return Ok(outputs.into_iter().map(|t| self.tensor(t)).collect());
        }
        let node = self.node.clone();
        let outputs = self.program.add_op(self.graph, &node, op, inputs)?;
        Ok(outputs.into_iter().map(|v| self.known_constant(v)).collect())
    }

    /// Emits an operator with one output, all of whose inputs are present.
    pub fn emit1(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId> {
        let inputs: Vec<Option<ValueId>> = inputs.iter().map(|&v| Some(v)).collect();
        Ok(self.emit(op, &inputs)?[0])
    }

    /// The outputs of an operator whose inputs are all constants.
    fn fold(&self, op: &Op, inputs: &[Option<ValueId>]) -> Result<Option<Vec<Tensor>>> {
        let constants: Vec<Option<Tensor>> = inputs.iter().map(|v| v.and_then(|v| self.constant(v))).collect();
        let all = inputs.iter().zip(&constants).all(|(v, c)| v.is_none() || c.is_some());
        if !all || inputs.iter().all(Option::is_none) {
            return Ok(None);
        }
        let kind = infer::graph::NodeKind::Op(op.clone());
        let types = self.program.infer_node(self.graph, &kind, inputs).map_err(|e| e.at_node(&self.node, op.name()))?;
        let before: usize = constants.iter().flatten().map(|t| t.data.len()).sum();
        let after = types.iter().try_fold(0usize, |n, ty| n.checked_add(ty.byte_len()?));
        if after.is_none_or(|n| n > before + FOLD_GROWTH) {
            return Ok(None);
        }
        let tensors: Vec<Option<&Tensor>> = constants.iter().map(Option::as_ref).collect();
        evaluate(op, &tensors, Isa::detect()).map(Some).map_err(|e| e.at_node(&self.node, op.name()))
    }

    /// The value, or a constant in its place if its elements are known by shape arithmetic.
    fn known_constant(&mut self, value: ValueId) -> ValueId {
        let ty = self.ty(value).clone();
        let Some(elements) = ty.fixed_value() else { return value };
        let dims: Vec<usize> = ty.shape.iter().filter_map(Dim::fixed).map(|d| d as usize).collect();
        let tensor = match ty.dtype {
            DType::I64 => Tensor::new(&dims, &elements),
            DType::I32 => Tensor::new(&dims, &elements.iter().map(|&x| x as i32).collect::<Vec<_>>()),
            _ => return value,
        };
        tensor.map_or(value, |t| self.tensor(t))
    }

    /// `x` with its axes permuted: output axis i is input axis `perm[i]`.
    pub fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId> {
        if perm.iter().copied().eq(0..perm.len()) {
            return Ok(x);
        }
        self.emit1(Transpose { perm: perm.to_vec() }, &[x])
    }

    /// `x` under another shape; see [`Reshape`] for -1 and 0.
    pub fn reshape(&mut self, x: ValueId, target: &[i64]) -> Result<ValueId> {
        let target = self.ints(target)?;
        self.emit1(Reshape::default(), &[x, target])
    }

    /// `x` under a shape of possibly symbolic dimensions.
    ///
    /// # Errors
    /// `Unsupported` if more than one of them is neither a number nor where it was.
    pub fn reshape_to(&mut self, x: ValueId, dims: &[Dim]) -> Result<ValueId> {
        let several = || Error::unsupported("a shape with more than one extent that is not a number");
        let target = self.reshape_target(x, dims).ok_or_else(several)?;
        self.reshape(x, &target)
    }

    /// The target with which a Reshape of `x` gives these dimensions; None if there is none.
    pub fn reshape_target(&self, x: ValueId, dims: &[Dim]) -> Option<Vec<i64>> {
        let from = &self.ty(x).shape;
        // An extent that stays where it is needs no inference; nor is there any where an extent is 0.
        let target: Vec<i64> = dims
            .iter()
            .enumerate()
            .map(|(i, d)| match d {
                Dim::Fixed(n) => *n,
                d if from.get(i) == Some(d) => 0,
                _ => -1,
            })
            .collect();
        let zero = dims.contains(&Dim::Fixed(0));
        (target.iter().filter(|&&t| t == -1).count() <= 1 && !zero).then_some(target)
    }

    /// `[N, C, spatial..]` to `[N, spatial.., C]`.
    pub fn channels_last(&mut self, x: ValueId) -> Result<ValueId> {
        let rank = self.rank(x);
        let perm: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).take(rank).collect();
        if rank < 3 { Ok(x) } else { self.transpose(x, &perm) }
    }

    /// `[N, spatial.., C]` to `[N, C, spatial..]`.
    pub fn channels_first(&mut self, x: ValueId) -> Result<ValueId> {
        let rank = self.rank(x);
        let perm: Vec<usize> = [0, rank.wrapping_sub(1)].into_iter().chain(1..rank - 1).take(rank).collect();
        if rank < 3 { Ok(x) } else { self.transpose(x, &perm) }
    }

    /// Whether a value is a constant whose bytes are row-major.
    pub fn is_constant(&self, value: ValueId) -> bool {
        self.g().value(value).constant.as_ref().is_some_and(|c| c.layout == Layout::RowMajor)
    }
}
