//! The C interface: one file for each noun of `include/infer.h`, which is generated from them in the order below.
//!
//! Functions are thin: they turn pointers into references, call the Rust interface and turn its errors into statuses. Each
//! body runs inside [`ffi::run`] or [`ffi::value`], which catch panics and record this thread's last error. The comments of
//! exported items become the header's, so they speak to C programmers.
#![allow(unsafe_code, reason = "memory and strings of C callers")]
#![allow(non_camel_case_types, reason = "the names are those of the C header")]
#![allow(clippy::missing_safety_doc, reason = "the header states what callers must uphold, once for all functions")]

mod version;

mod status;

mod error;

mod dtype;

mod device;

mod tuning;

mod tensor;

mod runtime;

mod model;

mod run_options;

mod session;

mod report;

mod context;

mod arguments;
mod bindings;
mod ffi;
mod layout;
mod memory;
mod ports;
mod sized;

pub use context::*;
pub use device::*;
pub use dtype::*;
pub use error::*;
pub use model::*;
pub use report::*;
pub use run_options::*;
pub use runtime::*;
pub use session::*;
pub use status::*;
pub use tensor::*;
pub use tuning::*;
pub use version::*;
