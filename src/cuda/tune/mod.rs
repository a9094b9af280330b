//! Which of several kernels is taken where NVIDIA's libraries offer some: the one that was fastest when they were timed
//! ([`faster`]). [`Tuning`] keeps what was found, for the process and, as text, beyond it.

mod choose;
mod tuning;

pub use choose::{Candidate, Offers, Scratch, faster};
pub use tuning::{CONFIG, Choice, Config, Engine, Key, Tuning};
