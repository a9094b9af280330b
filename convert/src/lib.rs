//! Importers and graph passes: PyTorch and ONNX files become `.infer` files.
#![deny(unsafe_code)]

pub mod onnx;
