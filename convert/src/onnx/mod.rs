//! ONNX: model files, and their lowering to our operators.
//!
//! Reading goes from bytes through [`wire`] (limits) and [`proto`] (messages) to [`model`] (names resolved, functions
//! inlined); [`lower`] makes a program of that.

pub mod attribute;
mod build;
pub mod external;
pub mod lower;
pub mod model;
mod narrow;
mod order;
pub mod proto;
pub mod read;
mod scope;
pub mod tensor;
#[cfg(test)]
mod tests;
pub mod types;
pub mod wire;

pub use model::{Graph, Model, Node, Port, Value};
pub use types::{Extent, ValueType};
