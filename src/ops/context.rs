//! What an operator is told when shapes are inferred and kernels prepared.

use super::Derived;
use crate::cpu::{Isa, Target};
use crate::error::{Error, Result};
use crate::tensor::{Blob, Buffer, DType, Dim, Dims, Element, Layout, Shape, TensorType, View};

/// Types of a node's inputs, and the data of those that are constants.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    types: &'a [Option<&'a TensorType>],
    data: &'a [Option<View<'a>>],
}

impl<'a> Inputs<'a> {
    /// The given inputs, None where an optional one is absent; none is a constant.
    pub fn new(types: &'a [Option<&'a TensorType>]) -> Self {
        Inputs { types, data: &[] }
    }

    /// The given inputs, with the row-major data of those that are constants.
    pub fn with_data(types: &'a [Option<&'a TensorType>], data: &'a [Option<View<'a>>]) -> Self {
        Inputs { types, data }
    }

    /// Number of inputs, absent ones included.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Data of an input that is a constant, of any element type. Integers that steer shapes may be known without being
    /// constants: use [`Inputs::vector`] for them.
    pub fn data(&self, index: usize) -> Option<View<'a>> {
        self.data.get(index).copied().flatten()
    }

    /// Type of a required input.
    pub fn get(&self, index: usize) -> Result<&'a TensorType> {
        self.opt(index).ok_or_else(|| Error::invalid(format!("input {index} is missing")))
    }

    /// Type of an optional input.
    pub fn opt(&self, index: usize) -> Option<&'a TensorType> {
        self.types.get(index).copied().flatten()
    }

    /// Type of a required input of a floating-point type.
    pub fn float(&self, index: usize) -> Result<&'a TensorType> {
        let ty = self.get(index)?;
        if !ty.dtype.is_float() {
            return Err(Error::dtype(format!("input {index} is {}; a floating-point type is needed", ty.dtype)));
        }
        Ok(ty)
    }

    /// Checks that an input, if present, has this element type.
    pub fn expect_dtype(&self, index: usize, dtype: DType) -> Result<()> {
        match self.opt(index) {
            Some(ty) if ty.dtype != dtype => Err(Error::dtype(format!("input {index} is {}, not {dtype}", ty.dtype))),
            _ => Ok(()),
        }
    }

    /// Checks that all present inputs have the element type of the first.
    pub fn same_dtype(&self) -> Result<DType> {
        let dtype = self.get(0)?.dtype;
        (1..self.len()).try_for_each(|i| self.expect_dtype(i, dtype))?;
        Ok(dtype)
    }

    /// Elements of an integer vector that steers the shape, as far as they are known; [`Dim::Unknown`] for each one that
    /// is not. An error if it is not an integer tensor of rank at most 1, or its length is not fixed.
    pub fn vector(&self, index: usize) -> Result<Vec<Dim>> {
        let ty = self.get(index)?;
        if !ty.dtype.is_int() || ty.shape.rank() > 1 {
            return Err(Error::invalid(format!("input {index} is {ty}; an integer vector is needed")));
        }
        if let Some(value) = &ty.value {
            return Ok(value.to_vec());
        }
        match ty.shape.numel() {
            Dim::Fixed(n) if n as usize <= TensorType::MAX_VALUES => Ok(vec![Dim::Unknown; n as usize]),
            n => Err(Error::unsupported(format!("input {index} steers the shape, and its length {n} is not fixed"))),
        }
    }

    /// Checks the number of inputs against an operator's smallest and largest.
    pub fn check_count(&self, (min, max): (usize, usize)) -> Result<()> {
        if (min..=max).contains(&self.len()) {
            return Ok(());
        }
        Err(Error::invalid(format!("{} inputs; {min} to {max} are accepted", self.len())))
    }
}

/// Element type and fixed dimensions of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub dims: Dims,
}

impl TensorInfo {
    /// The type's fixed form; None if it has a dimension that is not a number.
    pub fn of(ty: &TensorType) -> Option<Self> {
        Some(TensorInfo { dtype: ty.dtype, dims: ty.shape.as_fixed()? })
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.dims.iter().product()
    }

    /// Bytes in row-major layout; an error if the size does not fit.
    pub fn byte_len(&self) -> Result<usize> {
        let too_large = || Error::shape(format!("a tensor of shape {:?} is too large", self.dims));
        self.dims
            .numel()?
            .checked_mul(self.dtype.size())
            .filter(|&n| n <= isize::MAX as usize / 4)
            .ok_or_else(too_large)
    }
}

/// An input of a node for which a kernel is prepared.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    /// Element type and dimensions.
    pub info: TensorInfo,
    /// The bytes, if the input is a constant.
    pub data: Option<View<'a>>,
    /// Arrangement of the bytes; row-major unless the input is a constant.
    pub layout: Layout,
}

/// What a kernel is prepared for.
pub struct Prepare<'a> {
    /// Instruction set that kernels for the CPU use.
    pub isa: Isa,
    /// Threads of a run on the CPU: 1 or more.
    pub threads: usize,
    /// The node's inputs, None where an optional one is absent.
    pub inputs: &'a [Option<Operand<'a>>],
    /// The node's outputs (possibly fewer than the operator has).
    pub outputs: &'a [TensorInfo],
    /// Where copies of the model's weights are kept.
    pub derived: &'a Derived,
}

impl<'a> Prepare<'a> {
    /// What kernels for the CPU are planned for.
    pub fn target(&self) -> Target {
        Target { isa: self.isa, threads: self.threads }
    }

    /// A required input. Panics if it is absent (`infer` has checked).
    pub fn input(&self, index: usize) -> &Operand<'a> {
        self.optional(index).expect("a required input is present")
    }

    /// An optional input.
    pub fn optional(&self, index: usize) -> Option<&Operand<'a>> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// Dimensions of a required input.
    pub fn dims(&self, index: usize) -> Dims {
        self.input(index).info.dims
    }

    /// Elements of an integer input that steers shapes; such inputs are constants when kernels are prepared.
    pub fn vector(&self, index: usize) -> Result<Vec<i64>> {
        let input = self.input(index);
        let unknown = || Error::internal(format!("input {index} is not known when the kernel is prepared"));
        let data = input.data.ok_or_else(unknown)?;
        match input.info.dtype {
            DType::I64 => Ok(data.slice::<i64>().to_vec()),
            DType::I32 => Ok(data.slice::<i32>().iter().map(|&v| v.into()).collect()),
            dtype => Err(Error::dtype(format!("input {index} is {dtype}; i64 or i32 is needed"))),
        }
    }

    /// Dimensions of an output.
    pub fn out_dims(&self, index: usize) -> Dims {
        self.outputs[index].dims
    }
}

/// A tensor with its data, contiguous and row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Element type and dimensions.
    pub info: TensorInfo,
    /// The bytes.
    pub data: Blob,
}

impl Tensor {
    /// A tensor of the given elements; an error if their number does not fit the dimensions.
    pub fn new<T: Element>(dims: &[usize], elements: &[T]) -> Result<Self> {
        let info = TensorInfo { dtype: T::DTYPE, dims: Shape::fixed(dims)?.as_fixed().unwrap_or_default() };
        if info.dims.numel()? != elements.len() {
            return Err(Error::shape(format!("{} elements for shape {dims:?}", elements.len())));
        }
        Ok(Tensor { info, data: Blob::new(Buffer::from_elements(elements)?) })
    }

    /// The elements. Panics if the element type is not `T`'s.
    pub fn elements<T: Element>(&self) -> &[T] {
        self.view().slice()
    }

    /// A view of the data.
    pub fn view(&self) -> View<'_> {
        View::new(&self.data, self.info.dtype)
    }

    /// The tensor's type, with its elements if they can be tracked.
    pub fn ty(&self) -> TensorType {
        let shape = Shape::fixed(&self.info.dims).unwrap_or_default();
        let ty = TensorType::new(self.info.dtype, shape);
        if self.info.numel() > TensorType::MAX_VALUES {
            return ty;
        }
        match self.info.dtype {
            DType::I64 => ty.with_value(self.elements::<i64>().iter().map(|&v| Dim::Fixed(v)).collect()),
            DType::I32 => ty.with_value(self.elements::<i32>().iter().map(|&v| Dim::Fixed(v.into())).collect()),
            DType::Bool => ty.with_value(self.elements::<u8>().iter().map(|&v| Dim::Fixed(v.into())).collect()),
            _ => ty,
        }
    }
}
