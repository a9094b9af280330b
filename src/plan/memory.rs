//! Arena offsets for blocks with lifetimes: greedy by size (Pisarchyk and Lee, "Efficient Memory Management for Deep
//! Neural Net Inference", arXiv 2001.03288).

use crate::tensor::Buffer;

/// Memory that is needed from step `first` to step `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Length in bytes.
    pub len: usize,
    /// First step that uses the memory.
    pub first: usize,
    /// Last step that uses the memory.
    pub last: usize,
}

impl Block {
    fn overlaps(&self, other: &Block) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// An offset for each block, such that blocks alive at the same time do not overlap, and the total size. None if the
/// size does not fit.
pub fn place(blocks: &[Block]) -> Option<(Vec<usize>, usize)> {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(blocks[i].len), blocks[i].first, i));
    let mut offsets = vec![0usize; blocks.len()];
    let mut placed: Vec<usize> = vec![]; // by offset
    let mut total = 0;
    for &i in &order {
        let len = padded(blocks[i].len)?;
        let mut best: Option<(usize, usize)> = None; // size of the gap, offset
        let mut end = 0usize;
        for &j in placed.iter().filter(|&&j| blocks[j].overlaps(&blocks[i])) {
            let gap = offsets[j].saturating_sub(end);
            if gap >= len && best.is_none_or(|(size, _)| gap < size) {
                best = Some((gap, end));
            }
            end = end.max(offsets[j] + padded(blocks[j].len)?);
        }
        offsets[i] = best.map_or(end, |(_, offset)| offset);
        total = total.max(offsets[i].checked_add(len)?);
        let at = placed.partition_point(|&j| offsets[j] <= offsets[i]);
        placed.insert(at, i);
    }
    Some((offsets, total))
}

/// Largest sum of bytes alive at one step.
pub fn live_bytes(blocks: &[Block]) -> usize {
    let at = |step: usize| blocks.iter().filter(|b| b.first <= step && step <= b.last).map(|b| b.len).sum();
    blocks.iter().map(|b| at(b.first)).max().unwrap_or(0)
}

fn padded(len: usize) -> Option<usize> {
    len.checked_next_multiple_of(Buffer::ALIGN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::Random;

    #[test]
    fn blocks_alive_together_do_not_overlap() {
        let mut random = Random::new(1);
        for _ in 0..200 {
            let blocks: Vec<Block> = (0..random.below(40))
                .map(|_| {
                    let first = random.below(20);
                    Block { len: random.below(5) * 100, first, last: first + random.below(6) }
                })
                .collect();
            let (offsets, total) = place(&blocks).unwrap();
            for (i, a) in blocks.iter().enumerate() {
                assert!(offsets[i] + a.len <= total && offsets[i] % Buffer::ALIGN == 0);
                for (j, b) in blocks.iter().enumerate().filter(|(j, b)| *j != i && b.overlaps(a)) {
                    let apart = offsets[i] + a.len <= offsets[j] || offsets[j] + b.len <= offsets[i];
                    assert!(apart || a.len == 0 || b.len == 0, "{a:?} and {b:?}");
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let blocks: Vec<Block> = (0..10).map(|i| Block { len: 64, first: i, last: i + 1 }).collect();
        assert_eq!(place(&blocks).unwrap().1, 128);
        assert_eq!(live_bytes(&blocks), 128);
    }

    #[test]
    fn sizes_beyond_memory_are_refused() {
        let huge = Block { len: usize::MAX - 64, first: 0, last: 0 };
        assert!(place(&[huge, huge]).is_none());
    }
}
