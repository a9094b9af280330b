//! The ranks that are in a run.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::wait::{Patience, Sleepers};

/// Counts the ranks of a run that have not left it yet, and is where they wait for each other.
#[repr(align(128))]
pub(super) struct Members {
    count: AtomicUsize,
    /// Whether a rank has left by a panic: what it was to do will not be done.
    broken: AtomicBool,
    sleepers: Sleepers,
}

impl Members {
    pub(super) fn new() -> Members {
        Members { count: AtomicUsize::new(0), broken: AtomicBool::new(false), sleepers: Sleepers::new() }
    }

    /// Begins a run of `ranks`. No rank may be in it yet; publishing the run makes this visible to them.
    pub(super) fn open(&self, ranks: usize) {
        self.count.store(ranks, Relaxed);
        self.broken.store(false, Relaxed);
    }

    /// Takes a rank out of the run. What it wrote is visible to whoever waits for the end.
    pub(super) fn leave(&self, by_panic: bool) {
        if by_panic {
            self.broken.store(true, SeqCst);
        }
        if self.count.fetch_sub(1, SeqCst) == 1 || by_panic {
            self.sleepers.wake();
        }
    }

    /// Waits until the last rank has left.
    pub(super) fn wait_for_end(&self, patience: &Patience) {
        patience.wait(&self.sleepers, || self.count.load(SeqCst) == 0);
    }

    /// Waits until `ready`, which others make true by a `SeqCst` write before they wake; false if a rank has panicked.
    pub(super) fn wait(&self, patience: &Patience, ready: impl Fn() -> bool) -> bool {
        if ready() {
            return true;
        }
        patience.wait(&self.sleepers, || ready() || self.broken.load(SeqCst));
        ready()
    }

    pub(super) fn wake(&self) {
        self.sleepers.wake();
    }
}
