//! Attention: `softmax(cap(scale · Q · Kᵀ) + mask) · V` for every head (Vaswani et al., arXiv 1706.03762). Inputs: Q, K, V
//! and optionally mask, past key, past value, key lengths (i64 `[batch]`). Outputs: Y and optionally present key, present
//! value, scores.
//!
//! With [`Arrangement::HeadsFirst`] Q is `[batch, heads, queries, size]`, K and V `[batch, kv_heads, keys, size]`; with
//! [`Arrangement::SequenceFirst`] `[batch, queries, heads · size]` and so on; past and present are always heads-first. Past
//! keys and values come before those of K and V; present ones are both. Heads share keys and values in groups of
//! `heads / kv_heads` neighbours.
//!
//! Which keys a query attends to is bounded by
//! - the key lengths, if given: keys beyond them do not count;
//! - `causal` and the windows: query i stands at position i + offset, where the offset is the number of past keys, or
//!   key length - queries. It sees no later position if `causal`, and none further away than a window;
//! - the mask, which broadcasts to `[batch, heads, queries, keys]`: a bool mask keeps true, a float mask is added to the
//!   scores, where minus infinity removes a key whatever its score. A mask of fewer keys removes the rest.
//!
//! A query that attends to nothing gives zeros. Scores `[batch, heads, queries, keys]` are those of the stage asked for,
//! see [`Scores`].

mod blocks;
mod cache;
#[cfg(feature = "cuda")]
mod cuda;
mod rows;
mod shape;
mod softmax;
#[cfg(test)]
mod tests;

use super::{Inputs, Kernel, OpDef, Prepare, TensorInfo, widen};
use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{DType, Dim, Shape, TensorType};

/// Where the heads are in the dimensions of Q, K, V and Y.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Arrangement {
    /// `[batch, heads, sequence, size]`.
    #[default]
    HeadsFirst,
    /// `[batch, sequence, heads · size]`.
    SequenceFirst,
}

/// The stage at which scores are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// Scaled products.
    Products,
    /// After the soft cap.
    Capped,
    /// After mask and bounds; minus infinity for keys that do not count.
    Masked,
    /// After the softmax.
    Weights,
}

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Attention {
    /// Heads of Q; read from the shapes if they are heads-first.
    pub heads: u32,
    /// Heads of K and V; likewise.
    pub kv_heads: u32,
    /// Factor of the products; 0 stands for 1 / √size.
    pub scale: f32,
    /// No query sees a later position than its own.
    pub causal: bool,
    /// Scores s become `softcap · tanh(s / softcap)`, unless it is 0.
    pub softcap: f32,
    /// Where the heads are.
    pub arrangement: Arrangement,
    /// Positions that a query sees before its own; all if absent.
    pub left_window: Option<u32>,
    /// Positions that a query sees after its own; all if absent.
    pub right_window: Option<u32>,
    /// What the fourth output holds; there is none if absent.
    pub scores: Option<Scores>,
}

impl OpDef for Attention {
    type Table<'a> = schema::Attention<'a>;
    const NAME: &'static str = "Attention";
    const INPUTS: (usize, usize) = (3, 7);

    fn read(t: Self::Table<'_>) -> Result<Self> {
        let arrangement = match t.layout() {
            0 => Arrangement::HeadsFirst,
            1 => Arrangement::SequenceFirst,
            layout => return Err(Error::version(format!("unknown layout {layout}; a newer library may know it"))),
        };
        let scores = match t.scores() {
            0 => None,
            1 => Some(Scores::Products),
            2 => Some(Scores::Capped),
            3 => Some(Scores::Masked),
            4 => Some(Scores::Weights),
            stage => return Err(Error::version(format!("unknown stage {stage}; a newer library may know it"))),
        };
        Ok(Attention {
            heads: t.heads(),
            kv_heads: t.kv_heads(),
            scale: t.scale(),
            causal: t.causal(),
            softcap: t.softcap(),
            arrangement,
            left_window: u32::try_from(t.left_window()).ok(),
            right_window: u32::try_from(t.right_window()).ok(),
            scores,
        })
    }

    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut flatbuffers::FlatBufferBuilder<'b>) -> flatbuffers::WIPOffset<Self::Table<'b>> {
        let window = |w: Option<u32>| w.and_then(|w| i32::try_from(w).ok()).unwrap_or(-1);
        let args = schema::AttentionArgs {
            heads: self.heads,
            kv_heads: self.kv_heads,
            scale: self.scale,
            causal: self.causal,
            softcap: self.softcap,
            layout: self.arrangement as u8,
            left_window: window(self.left_window),
            right_window: window(self.right_window),
            scores: self.scores.map_or(0, |s| s as u8 + 1),
        };
        schema::Attention::create(b, &args)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
        let dtype = inputs.float(0)?.dtype;
        [1, 2, 4, 5].into_iter().try_for_each(|i| inputs.expect_dtype(i, dtype))?;
        inputs.expect_dtype(6, DType::I64)?;
        let extents = Extents::new(self, inputs)?;
        extents.check_mask(inputs)?;
        extents.check_lengths(inputs)?;
        let Extents { batch, heads, kv_heads, queries, size, value_size, .. } = &extents;
        let keys = extents.keys();
        let of = |dims: [&Dim; 4]| Ok(TensorType::new(dtype, Shape::new(dims.map(Dim::clone))?));
        let y = match self.arrangement {
            Arrangement::HeadsFirst => of([batch, heads, queries, value_size])?,
            Arrangement::SequenceFirst => {
                TensorType::new(dtype, Shape::new([batch.clone(), queries.clone(), heads.mul(value_size)])?)
            }
        };
        let present = [of([batch, kv_heads, &keys, size])?, of([batch, kv_heads, &keys, value_size])?];
        let mut outputs = vec![y];
        outputs.extend(present);
        if self.scores.is_some() {
            outputs.push(of([batch, heads, queries, &keys])?);
        }
        Ok(outputs)
    }

    fn flops(&self, inputs: &[Option<TensorInfo>], outputs: &[TensorInfo]) -> u64 {
        let ([Some(q), Some(k), ..], [y, ..]) = (inputs, outputs) else { return 0 };
        let sequence = match self.arrangement {
            Arrangement::HeadsFirst => 2,
            Arrangement::SequenceFirst => 1,
        };
        let past = inputs.get(4).copied().flatten().map_or(0, |past| past.dims[2]);
        2 * (q.numel() + y.numel()) as u64 * (past + k.dims[sequence]) as u64
    }

    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        match cx.outputs[0].dtype {
            DType::F32 if cx.outputs.len() < 4 && blocks::fits(self, cx) => blocks::prepare(self, cx),
            DType::F32 => rows::prepare::<f32>(self, cx),
            DType::F64 => rows::prepare::<f64>(self, cx),
            _ => widen::prepare(self, cx),
        }
    }

    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, cx: &super::PrepareCuda<'_>) -> Result<Option<super::CudaKernel>> {
        cuda::prepare(self, cx)
    }
}

/// Extents of the operands, possibly symbolic.
struct Extents {
    batch: Dim,
    heads: Dim,
    kv_heads: Dim,
    queries: Dim,
    new_keys: Dim,
    past_keys: Dim,
    size: Dim,
    value_size: Dim,
}

/// Batch, heads, sequence and size of an operand.
type Operand = [Dim; 4];

/// Whether these are two different numbers.
fn differ(a: &Dim, b: &Dim) -> bool {
    a.fixed().zip(b.fixed()).is_some_and(|(a, b)| a != b)
}

impl Extents {
    fn new(op: &Attention, inputs: &Inputs<'_>) -> Result<Self> {
        let operand = |index: usize, heads: u32| op.operand(&inputs.get(index)?.shape, heads, ["Q", "K", "V"][index]);
        let [batch, heads, queries, size] = operand(0, op.heads)?;
        let k = operand(1, op.kv_heads)?;
        let v = operand(2, op.kv_heads)?;
        let past_keys = past(inputs, &k, &v)?;
        let fail = |what: &str| {
            let [q, k, v] = [0, 1, 2].map(|i| inputs.opt(i).map_or_else(String::new, |t| t.shape.to_string()));
            Err(Error::shape(format!("attention of Q {q}, K {k}, V {v}: {what}")))
        };
        if differ(&batch, &k[0]) || differ(&batch, &v[0]) {
            return fail("batches differ");
        }
        if differ(&k[1], &v[1]) || differ(&k[2], &v[2]) {
            return fail("K and V have different heads or lengths");
        }
        if differ(&size, &k[3]) {
            return fail("Q and K have different sizes");
        }
        if heads.fixed().zip(k[1].fixed()).is_some_and(|(q, kv)| kv == 0 || q % kv != 0) {
            return fail("the heads of K do not divide those of Q");
        }
        let [_, kv_heads, new_keys, _] = k;
        let [.., value_size] = v;
        Ok(Extents { batch, heads, kv_heads, queries, new_keys, past_keys, size, value_size })
    }

    /// All keys, past and new.
    fn keys(&self) -> Dim {
        self.past_keys.add(&self.new_keys)
    }

    fn check_mask(&self, inputs: &Inputs<'_>) -> Result<()> {
        let Some(mask) = inputs.opt(3) else { return Ok(()) };
        if mask.dtype != DType::Bool {
            inputs.expect_dtype(3, inputs.get(0)?.dtype)?;
        }
        let (keys, dims) = (self.keys(), &mask.shape);
        let full = [&self.batch, &self.heads, &self.queries, &keys];
        let fits = |(have, want): (&Dim, &&Dim)| *have == Dim::Fixed(1) || !differ(have, want);
        let [leading @ .., last] = &dims[..] else {
            return Err(Error::shape("the mask is a scalar"));
        };
        let outer = leading.len() <= 3 && leading.iter().zip(&full[3_usize.saturating_sub(leading.len())..]).all(fits);
        let longer = last.fixed().zip(keys.fixed()).is_some_and(|(have, want)| have > want);
        if !outer || longer {
            let full: Vec<String> = full.iter().map(|d| d.to_string()).collect();
            return Err(Error::shape(format!("the mask {dims} does not broadcast to [{}]", full.join(", "))));
        }
        if *last == Dim::Fixed(1) && keys.fixed().is_some_and(|k| k > 1) {
            let message = format!("a mask {dims} of one key for {keys}: expand it, or leave out the other keys");
            return Err(Error::unsupported(message));
        }
        Ok(())
    }

    fn check_lengths(&self, inputs: &Inputs<'_>) -> Result<()> {
        let Some(lengths) = inputs.opt(6) else { return Ok(()) };
        if inputs.opt(4).is_some() {
            return Err(Error::invalid("key lengths go with a cache outside of the operator, not with past keys"));
        }
        if lengths.shape.rank() != 1 || differ(&lengths.shape[0], &self.batch) {
            return Err(Error::shape(format!("key lengths {} for a batch of {}", lengths.shape, self.batch)));
        }
        Ok(())
    }
}

/// Length of the past keys, 0 if there are none, after a check of their shapes.
fn past(inputs: &Inputs<'_>, k: &Operand, v: &Operand) -> Result<Dim> {
    let (key, value) = match (inputs.opt(4), inputs.opt(5)) {
        (None, None) => return Ok(Dim::Fixed(0)),
        (Some(key), Some(value)) => (&key.shape, &value.shape),
        _ => return Err(Error::invalid("past key and past value are used together")),
    };
    let matches = |past: &Shape, new: &Operand| {
        past.rank() == 4 && [0, 1, 3].into_iter().all(|i| !differ(&past[i], &new[i]))
    };
    if !matches(key, k) || !matches(value, v) || differ(&key[2], &value[2]) {
        return Err(Error::shape(format!("past key {key} and value {value} do not fit K and V")));
    }
    Ok(key[2].clone())
}

impl Attention {
    /// Extents of an operand with `heads` heads.
    fn operand(&self, shape: &Shape, heads: u32, name: &str) -> Result<Operand> {
        match (self.arrangement, &shape[..]) {
            (Arrangement::HeadsFirst, [b, h, s, d]) => {
                if heads != 0 && differ(h, &Dim::Fixed(heads.into())) {
                    return Err(Error::shape(format!("{name} {shape} has not {heads} heads")));
                }
                Ok([b.clone(), h.clone(), s.clone(), d.clone()])
            }
            (Arrangement::SequenceFirst, [b, s, width]) if heads > 0 => {
                let heads = Dim::Fixed(heads.into());
                if differ(&width.modulo(&heads), &Dim::Fixed(0)) {
                    return Err(Error::shape(format!("{heads} heads do not divide the last dimension of {name} {shape}")));
                }
                Ok([b.clone(), heads.clone(), s.clone(), width.floor_div(&heads)])
            }
            (Arrangement::SequenceFirst, [..]) if heads == 0 => {
                Err(Error::invalid("the numbers of heads are missing"))
            }
            _ => Err(Error::shape(format!("{name} {shape} for {:?} attention", self.arrangement))),
        }
    }
}
