//! What memory the contexts of a session occupy.

use super::Workspace;
use std::ops::{AddAssign, SubAssign};

/// Bytes that contexts occupy, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupied {
    /// Activations and workspace.
    pub arenas: u64,
    /// Scratch memory of the threads.
    pub scratch: u64,
    /// Values that outlive a segment, and copies of inputs and outputs.
    pub copies: u64,
    /// Activations and workspace in a GPU's memory.
    pub device_arenas: u64,
    /// Memory of the host through which copies to a GPU and from it go.
    pub staging: u64,
}

impl Occupied {
    /// All of it, in whichever memory.
    pub fn total(&self) -> u64 {
        self.arenas + self.scratch + self.copies + self.device_arenas + self.staging
    }
}

impl AddAssign for Occupied {
    fn add_assign(&mut self, other: Occupied) {
        self.arenas += other.arenas;
        self.scratch += other.scratch;
        self.copies += other.copies;
        self.device_arenas += other.device_arenas;
        self.staging += other.staging;
    }
}

impl SubAssign for Occupied {
    fn sub_assign(&mut self, other: Occupied) {
        self.arenas -= other.arenas;
        self.scratch -= other.scratch;
        self.copies -= other.copies;
        self.device_arenas -= other.device_arenas;
        self.staging -= other.staging;
    }
}

impl Workspace {
    /// What the workspace occupies.
    pub fn occupied(&self) -> Occupied {
        let bytes = |len: usize| len as u64;
        let mut sum = Occupied {
            arenas: self.arena.as_ref().map_or(0, |arena| bytes(arena.len())),
            scratch: self.scratch.iter().map(|scratch| bytes(scratch.len())).sum(),
            copies: self.kept.iter().flatten().map(|kept| bytes(kept.len())).sum(),
            ..Occupied::default()
        };
        #[cfg(feature = "cuda")]
        if let Some(space) = &self.device {
            (sum.device_arenas, sum.staging) = space.occupied();
        }
        self.bodies.iter().for_each(|(_, body)| sum += body.occupied());
        sum
    }
}
