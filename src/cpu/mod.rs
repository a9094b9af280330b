//! The machine: instruction sets, vector code, matrix products, threads. Knows nothing of operators.

pub mod parallel;
