//! What memory a session occupies.

use super::Session;
use crate::exec::Occupied;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that a session occupies, and how many plans and contexts it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReport {
    /// The model's weights as they are in the file, which processes share unless it was opened as a copy.
    pub weights: u64,
    /// Weights that kernels have rearranged for themselves so far, for all sessions of the model.
    pub rearranged: u64,
    /// Contexts: those that [`Session::run`] keeps or uses now, and the caller's.
    pub contexts: u32,
    /// Bytes of these contexts, as they were after the last run of each.
    pub occupied: Occupied,
    /// Plans that are kept for the shapes of inputs that have been seen; a plan of several segments counts for each.
    pub plans: u32,
    /// Weights in the GPU's memory.
    pub device_weights: u64,
}

/// What the contexts of a session occupy together.
#[derive(Default)]
pub(super) struct Contexts(Mutex<(u32, Occupied)>);

impl Contexts {
    fn sum(&self) -> MutexGuard<'_, (u32, Occupied)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A context among those of its session.
pub(super) struct Share {
    all: Arc<Contexts>,
    occupied: Occupied,
}

impl Share {
    /// A context that occupies nothing yet.
    pub(super) fn new(all: &Arc<Contexts>) -> Share {
        all.sum().0 += 1;
        Share { all: all.clone(), occupied: Occupied::default() }
    }

    /// What the context occupies now. A run that allocates nothing takes no lock here.
    pub(super) fn set(&mut self, occupied: Occupied) {
        if occupied != self.occupied {
            let mut sum = self.all.sum();
            sum.1 -= std::mem::replace(&mut self.occupied, occupied);
            sum.1 += occupied;
        }
    }

    /// What it occupied after its last run.
    pub(super) fn occupied(&self) -> Occupied {
        self.occupied
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut sum = self.all.sum();
        sum.0 -= 1;
        sum.1 -= self.occupied;
    }
}

impl Session {
    /// What memory the session occupies now. [`DeviceId::describe`](super::DeviceId::describe) tells what the whole process does on
    /// a GPU.
    pub fn memory(&self) -> MemoryReport {
        let (contexts, occupied) = *self.contexts.sum();
        MemoryReport {
            weights: self.model.weight_bytes(),
            rearranged: self.model.derived.made(),
            contexts,
            occupied,
            plans: self.prepared.plans(),
            device_weights: self.prepared.device_weights(),
        }
    }
}
