//! Copies of weights that kernels rearranged for themselves: made when first needed, kept with the model, and shared by
//! all its sessions and plans.
//!
//! Which weights may have a copy is decided once, when the model is opened, so that it depends neither on shapes nor on
//! the order of runs: equal runs have equal bits.

use crate::tensor::{Blob, Buffer, View};
use std::sync::OnceLock;

/// The copies of one model.
#[derive(Default)]
pub struct Derived {
    /// In ascending order of their weights' addresses.
    entries: Vec<Entry>,
}

struct Entry {
    /// Address of the weights; the model keeps them in place.
    weights: usize,
    bytes: usize,
    /// Made on first use; None if there was no memory for it.
    copy: OnceLock<Option<Blob>>,
}

impl Derived {
    /// No copies at all.
    pub const NONE: &'static Derived = &Derived { entries: vec![] };

    /// Lets kernels copy weights, given with the bytes of each copy, as long as all copies together stay within
    /// `budget` bytes. The smallest copies come first: they serve the layers with the most positions.
    pub fn new<'a>(wanted: impl IntoIterator<Item = (&'a Blob, usize)>, budget: usize) -> Derived {
        let entry =
            |(weights, bytes): (&Blob, usize)| Entry { weights: address(weights), bytes, copy: OnceLock::new() };
        let mut entries: Vec<Entry> = wanted.into_iter().map(entry).collect();
        entries.sort_by_key(|e| e.weights);
        entries.dedup_by_key(|e| e.weights);
        entries.sort_by_key(|e| e.bytes);
        let mut total = 0usize;
        entries.retain(|e| {
            total = total.saturating_add(e.bytes);
            total <= budget
        });
        entries.sort_by_key(|e| e.weights);
        Derived { entries }
    }

    /// The copy of `weights`, of `bytes` bytes; `make` fills it, once. None if these weights may not have one.
    pub fn get(&self, weights: &View<'_>, bytes: usize, make: impl FnOnce(&mut [u8])) -> Option<Blob> {
        let place = self.entries.binary_search_by_key(&address(weights.bytes()), |e| e.weights).ok()?;
        let entry = &self.entries[place];
        let copy = entry.copy.get_or_init(|| {
            let mut buffer = Buffer::zeroed(bytes).ok()?;
            make(&mut buffer);
            Some(Blob::new(buffer))
        });
        copy.clone().filter(|copy| copy.len() == bytes)
    }

    /// Bytes of the copies that have been made.
    pub fn made(&self) -> u64 {
        let made = self.entries.iter().filter_map(|e| e.copy.get()?.as_ref());
        made.map(|copy| copy.len() as u64).sum()
    }

    /// Bytes of all copies once they are made.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|e| e.bytes).sum()
    }
}

fn address(bytes: &[u8]) -> usize {
    bytes.as_ptr() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    #[test]
    fn the_smallest_copies_are_made_once() {
        let weights: Vec<Blob> = (0..3).map(|i| Blob::copy_of(&[i; 64]).expect("memory")).collect();
        let derived =
            Derived::new([(&weights[0], 300), (&weights[1], 100), (&weights[2], 200), (&weights[1], 100)], 350);
        assert_eq!(derived.made(), 0);
        let mut made = 0;
        let mut get = |i: usize, bytes: usize| {
            let fill = |to: &mut [u8]| {
                made += 1;
                to.fill(i as u8 + 1);
            };
            let copy = derived.get(&View::new(&weights[i], DType::U8), bytes, fill);
            (copy.map(|c| (c.len(), c[0])), made)
        };
        assert_eq!(get(0, 300), (None, 0));
        assert_eq!(get(1, 100), (Some((100, 2)), 1));
        assert_eq!(get(1, 100), (Some((100, 2)), 1));
        assert_eq!(get(2, 200), (Some((200, 3)), 2));
        assert_eq!(get(2, 7), (None, 2), "a copy of another size is another copy");
        assert_eq!((derived.bytes(), derived.made()), (300, 300));
    }
}
