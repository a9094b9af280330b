//! Importers and graph passes: PyTorch and ONNX files become `.infer` files.
