//! # Devices

/// Where memory or computation is, one of INFER_DEVICE_*.
pub type infer_device = u32;

/// The processor and its memory.
pub const INFER_DEVICE_CPU: infer_device = 0;
/// An NVIDIA GPU, numbered as the CUDA driver numbers them.
pub const INFER_DEVICE_CUDA: infer_device = 1;
