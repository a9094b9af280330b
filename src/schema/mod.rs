//! FlatBuffers code generated from `schema/model.fbs` by `cargo xtask schema`.
#![allow(
    unsafe_code,
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::allow_attributes_without_reason,
    clippy::missing_safety_doc,
    deprecated,
    mismatched_lifetime_syntaxes,
    reason = "generated code"
)]

#[rustfmt::skip]
mod model_generated;

pub use model_generated::infer::schema::*;
