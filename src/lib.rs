//! libinfer: an embeddable neural-network inference runtime.
#![deny(unsafe_code)]

pub mod cpu;
