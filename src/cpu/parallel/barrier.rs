//! The barrier between the ranks of a run.

use std::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use super::wait::{Patience, Sleepers};

/// A sense-reversing barrier that ranks can leave; the run ends when the last one has left. One cache line.
#[repr(align(128))]
pub(super) struct Barrier {
    /// Ranks that are in the run (upper half) and those of them that have yet to arrive (lower half). One word, so
    /// that leaving is one atomic step.
    count: AtomicU64,
    /// Counts barriers passed: waiting ranks watch it change.
    passed: AtomicU32,
    /// Whether the last rank has left.
    ended: AtomicBool,
    sleepers: Sleepers,
}

/// One rank in both halves of [`Barrier::count`].
const ONE_RANK: u64 = (1 << 32) + 1;

impl Barrier {
    pub(super) fn new() -> Barrier {
        Barrier {
            count: AtomicU64::new(0),
            passed: AtomicU32::new(0),
            ended: AtomicBool::new(true),
            sleepers: Sleepers::new(),
        }
    }

    /// Begins a run of `ranks`. No rank may be in it yet; publishing the run makes this visible to them.
    pub(super) fn open(&self, ranks: usize) {
        self.count.store(ONE_RANK * ranks as u64, Relaxed);
        self.ended.store(false, Relaxed);
    }

    /// Arrives, and waits for all others in the run.
    pub(super) fn wait(&self, patience: &Patience) {
        // Cannot change before this rank arrives.
        let passed = self.passed.load(Relaxed);
        let before = self.count.fetch_sub(1, AcqRel);
        if before as u32 == 1 {
            self.let_pass(before >> 32);
        } else {
            patience.wait(&self.sleepers, || self.passed.load(SeqCst) != passed);
        }
    }

    /// Takes this rank out of the run, for good; the others do not wait for it any more.
    pub(super) fn leave(&self) {
        let before = self.count.fetch_sub(ONE_RANK, AcqRel);
        if before >> 32 == 1 {
            self.ended.store(true, SeqCst);
            self.sleepers.wake();
        } else if before as u32 == 1 {
            self.let_pass((before >> 32) - 1);
        }
    }

    /// Lets the `ranks` that wait here go on. Only the last to arrive calls this, so nobody else touches the count.
    fn let_pass(&self, ranks: u64) {
        self.count.store(ONE_RANK * ranks, Relaxed);
        self.passed.fetch_add(1, SeqCst);
        self.sleepers.wake();
    }

    /// Waits until the last rank has left; what the ranks wrote is then visible here.
    pub(super) fn wait_for_end(&self, patience: &Patience) {
        patience.wait(&self.sleepers, || self.ended.load(SeqCst));
    }
}
