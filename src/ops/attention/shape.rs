//! The extents of an attention in numbers, where its rows are in memory, and which keys a query attends to.

use super::{Arrangement, Attention};
use crate::ops::Prepare;
use crate::tensor::{Args, DType, Dims, Element};
use std::ops::Range;

/// Extents and attributes.
#[derive(Clone, Copy, Debug)]
pub struct Problem {
    pub batch: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub queries: usize,
    pub past: usize,
    /// All keys, past and new.
    pub keys: usize,
    pub size: usize,
    pub value_size: usize,
    pub scale: f64,
    pub softcap: f64,
    arrangement: Arrangement,
    pub causal: bool,
    /// Positions that a query sees before and after its own.
    pub windows: [Option<usize>; 2],
    pub mask: Option<Mask>,
}

/// Distances between neighbouring rows of a tensor of `[batch, heads, sequence, size]` rows, in elements.
#[derive(Clone, Copy, Debug)]
pub struct Strides {
    pub batch: usize,
    pub head: usize,
    pub row: usize,
}

/// How the mask broadcasts.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    pub dtype: DType,
    /// Strides of batch, head and query, 0 where it is repeated.
    pub strides: [usize; 3],
    /// Keys that it covers.
    pub keys: usize,
}

/// The mask of one query, from key 0 on, or of several.
#[derive(Clone, Copy, Debug)]
pub enum MaskRow<'a, T> {
    /// Every key counts.
    None,
    /// Keys count that are not 0.
    Bool(&'a [u8]),
    /// Added to the scores.
    Float(&'a [T]),
}

impl<'a, T: Element> MaskRow<'a, T> {
    /// The part for the given keys.
    #[inline(always)]
    pub fn keys(self, keys: Range<usize>) -> Self {
        match self {
            MaskRow::None => MaskRow::None,
            MaskRow::Bool(row) => MaskRow::Bool(&row[keys]),
            MaskRow::Float(row) => MaskRow::Float(&row[keys]),
        }
    }
}

impl Problem {
    pub fn new(op: &Attention, cx: &Prepare<'_>) -> Self {
        let (q, k, v) = (cx.dims(0), cx.dims(1), cx.dims(2));
        let extents = |dims: &Dims, heads: u32| match (op.arrangement, &dims[..]) {
            (Arrangement::HeadsFirst, [_, h, s, d]) => (*h, *s, *d),
            (_, [_, s, width]) => (heads as usize, *s, width / heads as usize),
            _ => (0, 0, 0),
        };
        let (heads, queries, size) = extents(&q, op.heads);
        let (kv_heads, new_keys, _) = extents(&k, op.kv_heads);
        let (_, _, value_size) = extents(&v, op.kv_heads);
        let past = cx.optional(4).map_or(0, |past| past.info.dims[2]);
        let scale = if op.scale == 0.0 { 1.0 / (size as f64).sqrt() } else { op.scale.into() };
        let mask = cx.optional(3).map(|mask| Mask::new(&mask.info.dims, mask.info.dtype));
        Problem {
            batch: q[0],
            heads,
            kv_heads,
            queries,
            past,
            keys: past + new_keys,
            size,
            value_size,
            scale,
            softcap: op.softcap.into(),
            arrangement: op.arrangement,
            causal: op.causal,
            windows: [op.left_window, op.right_window].map(|w| w.map(|w| w as usize)),
            mask,
        }
    }

    /// Heads that share keys and values.
    pub fn group(&self) -> usize {
        self.heads.checked_div(self.kv_heads).unwrap_or(0)
    }

    /// Strides of an operand or of Y, which has `heads` heads of `rows` rows of `size` elements.
    pub fn strides(&self, heads: usize, rows: usize, size: usize) -> Strides {
        let batch = heads * rows * size;
        match self.arrangement {
            Arrangement::HeadsFirst => Strides { batch, head: rows * size, row: size },
            Arrangement::SequenceFirst => Strides { batch, head: size, row: heads * size },
        }
    }

    /// Offset between query index and position for an image of `length` keys.
    fn offset(&self, length: Option<usize>) -> isize {
        match length {
            Some(length) => length as isize - self.queries as isize,
            None => self.past as isize,
        }
    }

    /// The keys that a query may attend to, apart from the mask's values, given the key length of its image.
    #[inline(always)]
    pub fn visible(&self, query: usize, length: Option<usize>) -> Range<usize> {
        let position = query as isize + self.offset(length);
        let mut end = length.unwrap_or(self.keys).min(self.keys) as isize;
        end = end.min(self.mask.map_or(isize::MAX, |mask| mask.keys as isize));
        if self.causal {
            end = end.min(position + 1);
        }
        if let Some(right) = self.windows[1] {
            end = end.min(position.saturating_add_unsigned(right).saturating_add(1));
        }
        let start = self.windows[0].map_or(0, |left| position.saturating_sub_unsigned(left).max(0));
        let end = end.max(0);
        start.min(end) as usize..end as usize
    }

    /// The mask of all queries.
    pub fn masks<'a, T: Element>(&self, args: &Args<'a>) -> MaskRow<'a, T> {
        match self.mask.map(|mask| mask.dtype) {
            None => MaskRow::None,
            Some(DType::Bool) => MaskRow::Bool(args.input::<u8>(3)),
            Some(_) => MaskRow::Float(args.input::<T>(3)),
        }
    }

    /// The mask of a query, given the mask of all.
    #[inline(always)]
    pub fn mask_row<'a, T: Element>(&self, at: [usize; 3], masks: MaskRow<'a, T>) -> MaskRow<'a, T> {
        let Some(mask) = &self.mask else { return MaskRow::None };
        let first = at[0] * mask.strides[0] + at[1] * mask.strides[1] + at[2] * mask.strides[2];
        masks.keys(first..first + mask.keys)
    }

    /// Number of valid keys of an image, if that is an input.
    pub fn length(&self, image: usize, args: &Args<'_>) -> Option<usize> {
        let lengths = args.optional::<i64>(6)?;
        Some(lengths[image].clamp(0, self.keys as i64) as usize)
    }
}

impl Mask {
    fn new(dims: &Dims, dtype: DType) -> Self {
        let own = dims.strides();
        let mut strides = [0; 3];
        let outer = dims.len() - 1;
        for (i, stride) in strides[3 - outer..].iter_mut().enumerate() {
            *stride = if dims[i] == 1 { 0 } else { own[i] };
        }
        Mask { dtype, strides, keys: dims[outer] }
    }
}
