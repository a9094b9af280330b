//! Tensors of a model file as ours: checked, dense, little-endian and aligned.

use bytes::Bytes;
use half::{bf16, f16};
use infer::error::{Error, Result};
use infer::ops::{Tensor, TensorInfo};
use infer::tensor::{Blob, Buffer, DType, Dims, Element, MAX_RANK};

use super::external::Externals;
use super::proto::{DataType, SparseTensorProto, TensorProto};

/// Largest dense form of a sparse tensor, in bytes: a few bytes of a file must not become more.
const MAX_DENSE_BYTES: usize = 1 << 30;

/// The element type with ONNX's number `code`.
pub fn dtype(code: i32) -> Result<DType> {
    Ok(match DataType::try_from(code) {
        Ok(DataType::Float) => DType::F32,
        Ok(DataType::Double) => DType::F64,
        Ok(DataType::Float16) => DType::F16,
        Ok(DataType::Bfloat16) => DType::BF16,
        Ok(DataType::Int8) => DType::I8,
        Ok(DataType::Int16) => DType::I16,
        Ok(DataType::Int32) => DType::I32,
        Ok(DataType::Int64) => DType::I64,
        Ok(DataType::Uint8) => DType::U8,
        Ok(DataType::Uint16) => DType::U16,
        Ok(DataType::Uint32) => DType::U32,
        Ok(DataType::Uint64) => DType::U64,
        Ok(DataType::Bool) => DType::Bool,
        Ok(DataType::Undefined) => return Err(Error::format("the element type is not stated")),
        Ok(other) => return Err(Error::unsupported(format!("element type {other:?} is not supported"))),
        Err(_) => return Err(Error::unsupported(format!("element type {code} is unknown"))),
    })
}

/// The tensor's type, shape and data; the data is read from its file if it is external.
///
/// Errors name the tensor: `Unsupported` for element types and ranks we do not have, `Format` where data and shape
/// contradict each other, and what [`Externals::read`] returns.
pub fn dense(proto: &TensorProto, externals: &mut Externals) -> Result<Tensor> {
    read(proto, externals).map_err(|e| e.context(format!("tensor '{}'", proto.name)))
}

fn read(proto: &TensorProto, externals: &mut Externals) -> Result<Tensor> {
    if proto.segment.is_some() {
        return Err(Error::unsupported("a tensor in segments is not supported"));
    }
    let info = TensorInfo { dtype: dtype(proto.data_type)?, dims: dims(&proto.dims)? };
    let len = info.byte_len()?;
    let data = match (&proto.raw_data, proto.data_location) {
        (_, 1) => Blob::new(externals.read(&proto.external_data, len)?),
        (_, 2..) | (_, ..=-1) => return Err(Error::format("the data is in a place that is not known")),
        (Some(raw), _) if !raw.is_empty() => raw_bytes(raw, len)?,
        _ => return typed_elements(proto, info),
    };
    let data = if info.dtype == DType::Bool { normal_bools(data)? } else { data };
    Ok(Tensor { info, data })
}

/// Dimensions, none negative, at most [`MAX_RANK`] of them.
pub(super) fn dims(dims: &[i64]) -> Result<Dims> {
    if dims.len() > MAX_RANK {
        return Err(Error::unsupported(format!("rank {} is above the limit of {MAX_RANK}", dims.len())));
    }
    let dims: Result<Vec<usize>, _> = dims.iter().map(|&d| usize::try_from(d)).collect();
    dims.map(|d| Dims::new(&d)).map_err(|_| Error::format("a dimension is negative or too large"))
}

/// An aligned copy of the raw data. Little-endian, as in the file.
fn raw_bytes(raw: &Bytes, len: usize) -> Result<Blob> {
    if raw.len() != len {
        return Err(Error::format(format!("{} bytes of data where type and shape need {len}", raw.len())));
    }
    Blob::copy_of(raw)
}

/// The data with every true as 1; other bytes than 0 and 1 are not allowed, yet occur.
fn normal_bools(data: Blob) -> Result<Blob> {
    if data.iter().all(|&b| b <= 1) {
        return Ok(data);
    }
    let mut normal = Buffer::copy_of(&data)?;
    normal.iter_mut().for_each(|b| *b = u8::from(*b != 0));
    Ok(Blob::new(normal))
}

/// The tensor from the field of numbers that belongs to its type.
fn typed_elements(proto: &TensorProto, info: TensorInfo) -> Result<Tensor> {
    let (dims, narrow) = (&info.dims[..], &proto.int32_data);
    match info.dtype {
        DType::F32 => Tensor::new(dims, &proto.float_data),
        DType::F64 => Tensor::new(dims, &proto.double_data),
        DType::I64 => Tensor::new(dims, &proto.int64_data),
        DType::U64 => Tensor::new(dims, &proto.uint64_data),
        DType::U32 => converted(dims, &proto.uint64_data, |v| u32::try_from(v).ok()),
        DType::I32 => Tensor::new(dims, narrow),
        DType::I16 => converted(dims, narrow, |v| i16::try_from(v).ok()),
        DType::I8 => converted(dims, narrow, |v| i8::try_from(v).ok()),
        DType::U16 => converted(dims, narrow, |v| u16::try_from(v).ok()),
        DType::U8 => converted(dims, narrow, |v| u8::try_from(v).ok()),
        DType::F16 => converted(dims, narrow, |v| u16::try_from(v).ok().map(f16::from_bits)),
        DType::BF16 => converted(dims, narrow, |v| u16::try_from(v).ok().map(bf16::from_bits)),
        DType::Bool => {
            let bytes = converted(dims, narrow, |v| Some(u8::from(v != 0)))?;
            Ok(Tensor { info, ..bytes })
        }
    }
}

/// A tensor of numbers that the file holds as wider ones.
fn converted<W: Copy, T: Element>(dims: &[usize], wide: &[W], convert: impl Fn(W) -> Option<T>) -> Result<Tensor> {
    let elements: Option<Vec<T>> = wide.iter().map(|&v| convert(v)).collect();
    let elements = elements.ok_or_else(|| Error::format(format!("an element does not fit {}", T::DTYPE)))?;
    Tensor::new(dims, &elements)
}

/// A sparse tensor with its zeros filled in.
pub fn densified(proto: &SparseTensorProto, externals: &mut Externals) -> Result<Tensor> {
    let name = proto.values.as_ref().map_or("", |v| v.name.as_str());
    scatter(proto, externals).map_err(|e| e.context(format!("sparse tensor '{name}'")))
}

fn scatter(proto: &SparseTensorProto, externals: &mut Externals) -> Result<Tensor> {
    let (Some(values), Some(indices)) = (&proto.values, &proto.indices) else {
        return Err(Error::format("its values or indices are missing"));
    };
    let (values, indices) = (read(values, externals)?, read(indices, externals)?);
    let info = TensorInfo { dtype: values.info.dtype, dims: dims(&proto.dims)? };
    let len = info.byte_len()?;
    if len > MAX_DENSE_BYTES {
        return Err(Error::unsupported(format!("{len} bytes when dense; at most {MAX_DENSE_BYTES} are allowed")));
    }
    let places = places(&info.dims, &values, &indices)?;
    let (mut data, size) = (Buffer::zeroed(len)?, info.dtype.size());
    for (place, value) in places.into_iter().zip(values.data.chunks_exact(size)) {
        data[place * size..][..size].copy_from_slice(value);
    }
    Ok(Tensor { info, data: Blob::new(data) })
}

/// The linear index of each value; all are within a tensor of dimensions `dims`, whose size fits.
fn places(dims: &Dims, values: &Tensor, indices: &Tensor) -> Result<Vec<usize>> {
    let wrong = || Error::format("indices that do not fit its shape or its values");
    let ([count], DType::I64) = (&values.info.dims[..], indices.info.dtype) else { return Err(wrong()) };
    let extents: Dims = match &indices.info.dims[..] {
        [n] if n == count => Dims::new(&[dims.numel()?]),
        [n, rank] if n == count && *rank == dims.len() && *rank > 0 => *dims,
        _ => return Err(wrong()),
    };
    let linear = |coordinates: &[i64]| {
        coordinates.iter().zip(&extents[..]).try_fold(0usize, |linear, (&c, &extent)| {
            let c = usize::try_from(c).ok().filter(|&c| c < extent)?;
            Some(linear * extent + c)
        })
    };
    let places: Option<Vec<usize>> = indices.elements::<i64>().chunks_exact(extents.len()).map(linear).collect();
    places.ok_or_else(wrong)
}
