//! Who does which part of which phase, and when a phase is done.
//!
//! Each rank has a share of a phase's parts, the same in every run, so that it finds its data in its own caches. A rank
//! that is done with its share takes parts from the shares of others. A phase is done when its parts are, not when every
//! rank has come by: a rank whose core another program uses holds up only the part that it is at.

use super::Rank;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// The parts of one run that have been taken and finished.
#[derive(Default)]
pub struct Ledger {
    shares: Vec<Share>,
    /// Parts of all phases so far that are finished. No part of a phase begins before the phase before is done, so this
    /// tells how far the run is.
    finished: AtomicU64,
}

/// The latest phase from which a rank's share had a part taken (upper half), and how many were (lower half). Rises only.
#[derive(Default)]
#[repr(align(128))]
struct Share(AtomicU64);

impl Ledger {
    /// Begins a run of `ranks`. Allocates if there were never as many.
    pub fn open(&mut self, ranks: usize) {
        self.shares.resize_with(self.shares.len().max(ranks), Share::default);
        self.shares.iter_mut().for_each(|share| *share.0.get_mut() = 0);
        *self.finished.get_mut() = 0;
    }

    /// The next part, counted from 0, of the `share` parts that `owner` has of a phase; None if all are taken. Phases
    /// are numbered from 1 on, and each has been waited for before parts of it are taken.
    pub fn take(&self, owner: usize, phase: u32, share: usize) -> Option<usize> {
        let counter = &self.shares[owner].0;
        let mut state = counter.load(Relaxed);
        loop {
            let taken = match ((state >> 32) as u32).cmp(&phase) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => state & 0xffff_ffff,
                // The others are ahead of this rank.
                std::cmp::Ordering::Greater => return None,
            };
            if taken >= share as u64 {
                return None;
            }
            let next = (u64::from(phase) << 32) | (taken + 1);
            match counter.compare_exchange_weak(state, next, Relaxed, Relaxed) {
                Ok(_) => return Some(taken as usize),
                Err(now) => state = now,
            }
        }
    }

    /// Counts parts that this rank has finished; `all` is the number of parts up to the end of the phase. What was
    /// written by them is visible to ranks whose [`Ledger::wait`] sees them.
    pub fn finish(&self, rank: &Rank<'_>, parts: u64, all: u64) {
        if parts > 0 && self.finished.fetch_add(parts, SeqCst) + parts >= all {
            rank.wake();
        }
    }

    /// Waits until `all` parts are finished; false if a rank has left by a panic, so that they may never be.
    #[must_use]
    pub fn wait(&self, rank: &Rank<'_>, all: u64) -> bool {
        rank.wait(|| self.finished.load(SeqCst) >= all)
    }
}
