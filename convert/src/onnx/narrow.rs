//! Integers of two and four bits. We have them only as constants that are dequantized, and read them as bytes: the same
//! numbers, of which DequantizeLinear makes the same floats.

use infer::error::{Error, Result};
use infer::ops::Tensor;

use super::external::Externals;
use super::proto::{DataType, GraphProto, NodeProto, TensorProto};
use super::scope::domain;
use super::tensor::dims;

/// The bits of an element and whether it has a sign; None for types of whole bytes.
fn width(tensor: &TensorProto) -> Option<(usize, bool)> {
    match DataType::try_from(tensor.data_type) {
        Ok(DataType::Int4) => Some((4, true)),
        Ok(DataType::Uint4) => Some((4, false)),
        Ok(DataType::Int2) => Some((2, true)),
        Ok(DataType::Uint2) => Some((2, false)),
        _ => None,
    }
}

/// The initialiser `tensor` of `graph` as i8 or u8; None if its elements have whole bytes.
///
/// Errors: `Unsupported` if something else than DequantizeLinear reads it, which might see that it is wider; `Format`
/// if there is not as much data as the shape needs.
pub fn widened(tensor: &TensorProto, graph: &GraphProto, externals: &mut Externals) -> Result<Option<Tensor>> {
    let Some((bits, signed)) = width(tensor) else { return Ok(None) };
    let only = only_dequantized(&tensor.name, graph);
    let data = if only { unpacked(tensor, bits, signed, externals) } else { Err(refusal(tensor)) };
    data.map(Some).map_err(|e| e.context(format!("tensor '{}'", tensor.name)))
}

fn refusal(tensor: &TensorProto) -> Error {
    let ty = DataType::try_from(tensor.data_type).unwrap_or_default();
    Error::unsupported(format!("element type {ty:?} is supported for what only DequantizeLinear reads"))
}

/// Whether DequantizeLinear is the only operator that reads `name` in a graph and the graphs in it.
fn only_dequantized(name: &str, graph: &GraphProto) -> bool {
    let fits = |node: &NodeProto| {
        let dequantizes = node.op_type == "DequantizeLinear" && domain(&node.domain).is_empty();
        let inner = || node.attribute.iter().flat_map(|a| a.g.as_deref().into_iter().chain(&a.graphs));
        (dequantizes || node.input.iter().all(|i| i != name)) && inner().all(|g| only_dequantized(name, g))
    };
    graph.node.iter().all(fits) && graph.output.iter().all(|o| o.name != name)
}

/// Elements are packed from the low bits of each byte on.
fn unpacked(tensor: &TensorProto, bits: usize, signed: bool, externals: &mut Externals) -> Result<Tensor> {
    let dims = dims(&tensor.dims)?;
    let count = dims.numel()?;
    let each = 8 / bits;
    let len = count.div_ceil(each);
    let packed: Vec<u8> = match (&tensor.raw_data, tensor.data_location) {
        (_, 1) => externals.read(&tensor.external_data, len)?.to_vec(),
        (_, 2..) | (_, ..=-1) => return Err(Error::format("the data is in a place that is not known")),
        (Some(raw), _) if !raw.is_empty() => raw.to_vec(),
        _ => tensor.int32_data.iter().map(|&b| b as u8).collect(),
    };
    if packed.len() != len {
        return Err(Error::format(format!("{} bytes of data where type and shape need {len}", packed.len())));
    }
    let element = |i: usize| (packed[i / each] >> (i % each * bits)) & ((1 << bits) - 1);
    if signed {
        // The sign is moved up to that of the byte and comes down with the number.
        let up = 8 - bits;
        let elements: Vec<i8> = (0..count).map(|i| (element(i) << up) as i8 >> up).collect();
        return Tensor::new(&dims, &elements);
    }
    Tensor::new(&dims, &(0..count).map(element).collect::<Vec<u8>>())
}
