//! f16 and bf16 by way of f32, for every operator with an f32 kernel: a first phase widens the inputs into workspace,
//! the f32 kernel runs there, and last phases round its outputs once.
#![allow(unsafe_code, reason = "hands ranges of the shared workspace to another kernel")]

use super::{Kernel, OpDef, Operand, Prepare, TensorInfo};
use crate::cpu::{Isa, half};
use crate::error::Result;
use crate::tensor::{Args, DType, Grid, Layout, OutView, View};
use ::half::{bf16, f16};
use std::ops::Range;
use std::ptr::NonNull;

/// Most inputs and outputs of an operator that may be widened.
const LIMIT: usize = 16;

/// Elements worth a part of their own.
const GRAIN: usize = 64 * 1024;

/// Whether tensors of this type are computed in f32.
pub fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// The kernel of `op` for f16 or bf16, from its kernel for f32.
pub fn prepare<O: OpDef>(op: &O, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    assert!(cx.inputs.len() <= LIMIT && cx.outputs.len() <= LIMIT, "too many operands to widen");
    let inputs: Vec<_> = cx.inputs.iter().map(|x| x.as_ref().map(widened)).collect();
    let outputs: Vec<_> = cx.outputs.iter().map(|y| wide_info(*y)).collect();
    let inner = op.prepare_cpu(&Prepare { inputs: &inputs, outputs: &outputs, ..*cx })?;
    let mut bytes = inner.shared_bytes();
    let mut place = |dtype: DType, elements: usize| {
        is_half(dtype).then(|| {
            let start = bytes.next_multiple_of(64);
            bytes = start + elements * size_of::<f32>();
            Place { dtype, start, elements }
        })
    };
    let inputs: Vec<_> = cx.inputs.iter().map(|x| x.and_then(|x| place(x.info.dtype, stored(&x)))).collect();
    let outputs: Vec<_> = cx.outputs.iter().map(|y| place(y.dtype, y.numel())).collect();
    let elements = inputs.iter().flatten().map(|p| p.elements).sum();
    let mut phases = vec![Grid::by_cost(elements, 1, GRAIN)];
    phases.extend(inner.phases());
    phases.extend(outputs.iter().flatten().map(|p| Grid::by_cost(p.elements, 1, GRAIN)));
    Ok(Box::new(Widen { isa: cx.isa, inner, inputs, outputs, phases, bytes }))
}

fn wide_info(info: TensorInfo) -> TensorInfo {
    TensorInfo { dtype: if is_half(info.dtype) { DType::F32 } else { info.dtype }, ..info }
}

fn widened<'a>(x: &Operand<'a>) -> Operand<'a> {
    let data = if is_half(x.info.dtype) { None } else { x.data };
    Operand { info: wide_info(x.info), data, layout: x.layout }
}

/// Elements that an input occupies, padding of packed layouts included.
fn stored(x: &Operand<'_>) -> usize {
    match x.layout {
        Layout::RowMajor => x.info.numel(),
        layout => layout.byte_len(x.info.dtype, &x.info.dims).unwrap_or(0) / x.info.dtype.size(),
    }
}

/// The f32 form of an input or output: a range of the shared workspace.
struct Place {
    dtype: DType,
    start: usize,
    elements: usize,
}

struct Widen {
    isa: Isa,
    inner: Box<dyn Kernel>,
    inputs: Vec<Option<Place>>,
    outputs: Vec<Option<Place>>,
    phases: Vec<Grid>,
    bytes: usize,
}

impl Kernel for Widen {
    fn phases(&self) -> Vec<Grid> {
        self.phases.clone()
    }

    fn shared_bytes(&self) -> usize {
        self.bytes
    }

    fn scratch_bytes(&self) -> usize {
        self.inner.scratch_bytes()
    }

    fn run(&self, phase: usize, args: &mut Args<'_>) -> Result<()> {
        let roundings = self.outputs.iter().flatten().count();
        let last = self.phases.len() - roundings;
        if phase == 0 {
            self.widen(args);
        } else if phase < last {
            return self.run_inner(phase, args);
        } else {
            self.round(phase - last, args);
        }
        Ok(())
    }
}

impl Widen {
    /// Widens this part's share of all inputs, counted as one sequence of elements.
    fn widen(&self, args: &Args<'_>) {
        let (share, _) = args.ranges();
        let mut first = 0;
        for (i, place) in self.inputs.iter().enumerate() {
            let Some(place) = place else { continue };
            let here = clip(&share, first, place.elements);
            first += place.elements;
            // SAFETY: parts have disjoint shares, and the range lies inside the workspace that was asked for.
            let to = unsafe { place.floats(args, &here) };
            match place.dtype {
                DType::F16 => half::f16_to_f32(&args.input::<f16>(i)[here], to),
                _ => half::bf16_to_f32(self.isa, &args.input::<bf16>(i)[here], to),
            }
        }
    }

    /// Runs a phase of the f32 kernel, with the workspace in place of inputs and outputs.
    fn run_inner(&self, phase: usize, args: &mut Args<'_>) -> Result<()> {
        let shared = args.raw_shared();
        let mut inputs = [None; LIMIT];
        for (i, place) in self.inputs.iter().enumerate() {
            inputs[i] = match place {
                // SAFETY: written in the first phase, and not changed until the step ends.
                Some(place) => Some(unsafe { View::from_raw(place.ptr(&shared), place.bytes(), DType::F32) }),
                None => args.view(i),
            };
        }
        let mut outputs = [shared; LIMIT];
        for (i, place) in self.outputs.iter().enumerate() {
            outputs[i] = match place {
                // SAFETY: a range of its own, of which the kernel's parts obtain disjoint tiles.
                Some(place) => unsafe { OutView::from_raw(place.ptr(&shared), place.bytes(), DType::F32) },
                None => args.raw_output(i),
            };
        }
        let (part, scratch) = (args.part(), args.scratch::<u8>());
        let (inputs, outputs) = (&inputs[..self.inputs.len()], &outputs[..self.outputs.len()]);
        // SAFETY: stands for `args`, which is borrowed exclusively; the f32 kernel's own workspace comes first.
        let mut args = unsafe { Args::new(inputs, outputs, shared, scratch, self.phases[phase], part) };
        self.inner.run(phase - 1, &mut args)
    }

    /// Rounds this part's share of the `index`-th output that has another type than f32.
    fn round(&self, index: usize, args: &mut Args<'_>) {
        let (share, _) = args.ranges();
        let mut widened = self.outputs.iter().enumerate().filter_map(|(i, p)| p.as_ref().map(|p| (i, p)));
        let Some((i, place)) = widened.nth(index) else { return };
        // SAFETY: written in earlier phases; only read now.
        let from = unsafe { place.floats(args, &share) };
        match place.dtype {
            DType::F16 => half::f32_to_f16(from, args.output::<f16>(i).into_slice()),
            _ => half::f32_to_bf16(self.isa, from, args.output::<bf16>(i).into_slice()),
        }
    }
}

impl Place {
    fn bytes(&self) -> usize {
        self.elements * size_of::<f32>()
    }

    fn ptr(&self, shared: &OutView<'_>) -> NonNull<u8> {
        assert!(self.start + self.bytes() <= shared.byte_len(), "the workspace is too small");
        // SAFETY: inside the workspace, checked above; a pointer into an allocation is not null.
        unsafe { NonNull::new_unchecked(shared.as_ptr().add(self.start)) }
    }

    /// # Safety
    /// As for [`Args::shared`].
    unsafe fn floats<'a>(&self, args: &Args<'a>, range: &Range<usize>) -> &'a mut [f32] {
        assert!(range.end <= self.elements);
        // SAFETY: the caller's promise.
        unsafe { args.shared(self.start + range.start * size_of::<f32>(), range.len()) }
    }
}

/// The part of `share` that falls on `first..first + len`, relative to `first`.
fn clip(share: &Range<usize>, first: usize, len: usize) -> Range<usize> {
    let at = |i: usize| i.clamp(first, first + len) - first;
    at(share.start)..at(share.end)
}
