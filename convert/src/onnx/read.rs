//! From a file, or bytes, to the decoded model message.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use infer::error::{Error, Result};
use prost::Message;

use super::proto::ModelProto;
use super::wire;

/// The newest version of ONNX's intermediate representation that is understood.
const NEWEST_IR: i64 = 14;

/// Reads a whole file, which must be a regular one.
pub fn read_file(path: &Path) -> Result<Bytes> {
    let failed = |e: &std::io::Error| Error::io(path.display(), e);
    let mut file = File::open(path).map_err(|e| failed(&e))?;
    let metadata = file.metadata().map_err(|e| failed(&e))?;
    if !metadata.is_file() {
        return Err(Error::invalid(format!("{}: not a regular file", path.display())));
    }
    let mut bytes = Vec::new();
    let len = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if bytes.try_reserve_exact(len).is_err() {
        return Err(Error::no_memory(format!("{}: no memory for {len} bytes", path.display())));
    }
    file.read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    Ok(bytes.into())
}

/// Decodes a model; large tensors stay parts of `bytes`.
///
/// Errors: `Format` if the bytes are not a model, `Version` if they are one of a newer kind, and `NoMemory` or
/// `Unsupported` if the model is beyond the limits of [`wire`].
pub fn decode(bytes: Bytes) -> Result<ModelProto> {
    if bytes.is_empty() {
        return Err(Error::format("the file is empty"));
    }
    wire::check(&bytes)?;
    let model = ModelProto::decode(bytes).map_err(|e| Error::format(format!("not an ONNX file, or damaged: {e}")))?;
    match model.ir_version {
        _ if model.graph.is_none() => Err(Error::format("not an ONNX model: it contains no graph")),
        ..=0 => Err(Error::format("not an ONNX model: it states no IR version")),
        1..=NEWEST_IR => Ok(model),
        newer => Err(Error::version(format!(
            "the model has ONNX IR version {newer}, and versions up to {NEWEST_IR} are supported; export it for an \
             older one"
        ))),
    }
}
