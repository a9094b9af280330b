//! The machine: instruction sets, vector code, matrix products, threads. Knows nothing of operators.

pub mod activation;
pub mod conv;
pub mod fold;
pub mod gemm;
pub mod half;
pub mod isa;
pub mod math;
pub mod parallel;
mod parts;
pub mod peak;
pub mod scores;
mod scratch;
pub mod simd;
mod target;
pub mod transpose;

pub use activation::Activation;
pub use isa::Isa;
pub use target::Target;
