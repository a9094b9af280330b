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
    /// The thread counts for which parts should come out even: other work may take away threads, but never give more than
    /// one to a run that has one, and each part costs something.
    pub(super) fn thread_counts(&self) -> &'static [usize] {
        if self.threads == 1 { &[1] } else { &[1, 2, 4, 8, 16] }
    }

    /// The same where parts cost more: no more than twice as many as there are.
    pub(super) fn few_thread_counts(&self) -> &'static [usize] {
        let counts = self.thread_counts();
        &counts[..counts.iter().filter(|&&count| count <= 2 * self.threads).count()]
    }
}
