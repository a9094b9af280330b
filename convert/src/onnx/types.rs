//! The types that a model states for its inputs and outputs.

use infer::error::{Error, Result};
use infer::tensor::{DType, MAX_RANK};

use super::proto::{DimensionProto, DimensionValue, ElementTypeProto, TensorTypeProto, TypeKind, TypeProto};
use super::tensor::dtype;

/// The type of a value, as far as the model states it.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueType {
    /// A tensor: its element type and, unless even the rank is open, its extents.
    Tensor(DType, Option<Vec<Extent>>),
    /// A list of values.
    Sequence(Box<ValueType>),
    /// A value that may be absent.
    Optional(Box<ValueType>),
}

/// An extent of a tensor, as far as the model states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A number.
    Fixed(usize),
    /// Open, but equal wherever the name stands.
    Named(String),
    /// Open.
    Open,
}

/// The type of a value; None where it is left open.
///
/// Errors: `Unsupported` for element types we do not have, maps, opaque types, and ranks above [`MAX_RANK`].
pub fn value_type(proto: &TypeProto) -> Result<Option<ValueType>> {
    Ok(Some(match &proto.value {
        None => return Ok(None),
        Some(TypeKind::Tensor(tensor)) if tensor.elem_type == 0 && tensor.shape.is_none() => return Ok(None),
        Some(TypeKind::Tensor(tensor)) => ValueType::Tensor(dtype(tensor.elem_type)?, extents(tensor)?),
        Some(TypeKind::Sequence(element)) => ValueType::Sequence(Box::new(element_type(element)?)),
        Some(TypeKind::Optional(element)) => ValueType::Optional(Box::new(element_type(element)?)),
        Some(TypeKind::Map(_)) => return Err(Error::unsupported("maps are not supported")),
        Some(TypeKind::SparseTensor(_)) => return Err(Error::unsupported("sparse inputs are not supported")),
        Some(TypeKind::Opaque(_)) => return Err(Error::unsupported("opaque types are not supported")),
    }))
}

fn element_type(proto: &ElementTypeProto) -> Result<ValueType> {
    let stated = proto.elem_type.as_deref().map(value_type).transpose()?;
    stated.flatten().ok_or_else(|| Error::format("a sequence or optional value without an element type"))
}

fn extents(tensor: &TensorTypeProto) -> Result<Option<Vec<Extent>>> {
    let Some(shape) = &tensor.shape else { return Ok(None) };
    if shape.dim.len() > MAX_RANK {
        return Err(Error::unsupported(format!("rank {} is above the limit of {MAX_RANK}", shape.dim.len())));
    }
    Ok(Some(shape.dim.iter().map(extent).collect()))
}

/// Exporters write open extents as nothing, as "", as "?", and as -1.
fn extent(dim: &DimensionProto) -> Extent {
    match &dim.value {
        Some(DimensionValue::Value(n)) => usize::try_from(*n).map_or(Extent::Open, Extent::Fixed),
        Some(DimensionValue::Param(name)) if !name.is_empty() && name != "?" => Extent::Named(name.clone()),
        _ => Extent::Open,
    }
}
