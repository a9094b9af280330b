//! The machine: instruction sets, vector code, matrix products, threads. Knows nothing of operators.

pub mod activation;
pub mod half;
pub mod isa;
pub mod math;
pub mod parallel;
pub mod simd;

pub use activation::Activation;
pub use isa::Isa;
