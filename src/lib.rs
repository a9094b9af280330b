//! libinfer: an embeddable neural-network inference runtime.
//!
//! A model file is opened ([`model`]), prepared for a device and run ([`session`]). `ARCHITECTURE.md` shows the paths
//! of a run and of a conversion through these modules, and which module may use which.
#![deny(unsafe_code)]

pub mod capi;
pub mod cpu;
#[cfg(feature = "cuda")]
#[allow(unsafe_code, reason = "calls of the driver")]
pub mod cuda;
pub mod error;
pub mod exec;
pub mod graph;
pub mod model;
pub mod ops;
pub mod plan;
pub mod schema;
pub mod session;
pub mod tensor;
