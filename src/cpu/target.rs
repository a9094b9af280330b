//! What kernels are planned for.

use super::Isa;

/// An instruction set, and how many threads share the work. What a kernel computes depends on the first only; into how
/// many parts it is cut, on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The instruction set.
    pub isa: Isa,
    /// Threads of a run, at least one.
    pub threads: usize,
}

impl Target {
    /// The thread counts for which parts should come out even. Other work may take threads away from a run, so half as
    /// many count too, and twice as many, for then a thread that is late leaves parts for others to take over. A run that
    /// has one thread never gets another, and each part costs something.
    pub(super) fn thread_counts(&self) -> Vec<usize> {
        match self.threads {
            1 => vec![1],
            threads => vec![threads / 2, threads, 2 * threads],
        }
    }
}
