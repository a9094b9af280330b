//! A small least-recently-used cache that finds entries by comparison, without hashing or allocating.

use std::sync::{Arc, Mutex, PoisonError};

/// Most entries that a cache keeps: enough for the shapes that an application alternates between.
const CAPACITY: usize = 16;

/// Up to a handful of shared values with their keys, the most recently used last.
pub struct Cache<K, V> {
    entries: Mutex<Vec<(K, Arc<V>)>>,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Cache { entries: Mutex::new(vec![]) }
    }
}

impl<K, V> Cache<K, V> {
    /// The value whose key satisfies `is`.
    pub fn find(&self, is: impl Fn(&K) -> bool) -> Option<Arc<V>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let index = entries.iter().rposition(|(key, _)| is(key))?;
        let last = entries.len() - 1;
        entries[index..=last].rotate_left(1);
        Some(entries[last].1.clone())
    }

    /// All values.
    pub fn values(&self) -> Vec<Arc<V>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|(_, value)| value.clone()).collect()
    }

    /// Adds a value, in the place of the least recently used one if the cache is full.
    pub fn insert(&self, key: K, value: Arc<V>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == CAPACITY {
            entries.remove(0);
        }
        entries.push((key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let cache = Cache::default();
        (0..CAPACITY).for_each(|i| cache.insert(i, Arc::new(i)));
        assert_eq!(cache.find(|&k| k == 0).as_deref(), Some(&0));
        cache.insert(99, Arc::new(99));
        assert!(cache.find(|&k| k == 0).is_some() && cache.find(|&k| k == 1).is_none());
    }
}
