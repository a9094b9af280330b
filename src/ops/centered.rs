//! Products of 8-bit integers less their zero points: a first phase writes the differences to workspace as i32, where the
//! i32 kernel of another operator reads them. Exact, but for sums that leave the range of i32, which wrap.
#![allow(unsafe_code, reason = "hands ranges of the shared workspace to another kernel")]

use super::elementwise::Number;
use super::{Kernel, OpDef, Operand, Prepare, TensorInfo, Walk};
use crate::error::{Error, Result};
use crate::tensor::{Args, DType, Dims, Grid, Layout, View};
use std::ops::Range;
use std::ptr::NonNull;

/// Elements worth a part of their own.
const GRAIN: usize = 32 * 1024;

/// The kernel of `op`, which has two operands, on inputs 0 and 1 less inputs 2 and 3, which have the given shapes so that
/// they broadcast to them.
pub fn prepare<O: OpDef>(op: &O, zeros: [Option<Dims>; 2], cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
    let wide = |i: usize| {
        let info = TensorInfo { dtype: DType::I32, ..cx.input(i).info };
        Operand { info, data: None, layout: Layout::RowMajor }
    };
    if [0, 1].into_iter().any(|i| cx.input(i).layout != Layout::RowMajor) {
        return Err(Error::format("packed weights of an integer product"));
    }
    let inner = op.prepare_cpu(&Prepare { inputs: &[Some(wide(0)), Some(wide(1))], ..*cx })?;
    let mut bytes = inner.shared_bytes();
    let mut place = |i: usize| -> Result<Place> {
        let TensorInfo { dtype, dims } = cx.input(i).info;
        let start = bytes.next_multiple_of(64);
        bytes = start + cx.input(i).info.numel() * size_of::<i32>();
        let zero = zeros[i].map(|zero| Walk::broadcast(&dims, [&zero])).transpose()?;
        Ok(Place { dtype, start, elements: cx.input(i).info.numel(), zero })
    };
    let places = [place(0)?, place(1)?];
    let elements = places[0].elements + places[1].elements;
    let mut phases = vec![Grid::by_cost(elements, 1, GRAIN)];
    phases.extend(inner.phases());
    Ok(Box::new(Centered { inner, places, phases, bytes }))
}

/// Where the differences of an operand go.
struct Place {
    dtype: DType,
    start: usize,
    elements: usize,
    zero: Option<Walk<1>>,
}

struct Centered {
    inner: Box<dyn Kernel>,
    places: [Place; 2],
    phases: Vec<Grid>,
    bytes: usize,
}

impl Kernel for Centered {
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
        if phase > 0 {
            return self.run_inner(phase, args);
        }
        let (share, _) = args.ranges();
        let [first, _] = &self.places;
        let split = |i: usize| i.clamp(0, first.elements);
        let beyond = |i: usize| i.saturating_sub(first.elements);
        self.subtract(0, split(share.start)..split(share.end), args);
        self.subtract(1, beyond(share.start)..beyond(share.end), args);
        Ok(())
    }
}

impl Centered {
    fn subtract(&self, operand: usize, range: Range<usize>, args: &Args<'_>) {
        match self.places[operand].dtype {
            DType::I8 => self.subtract_from::<i8>(operand, range, args),
            _ => self.subtract_from::<u8>(operand, range, args),
        }
    }

    fn subtract_from<T: Number>(&self, operand: usize, range: Range<usize>, args: &Args<'_>) {
        let place = &self.places[operand];
        let from = &args.input::<T>(operand)[range.clone()];
        // SAFETY: parts have disjoint ranges.
        let to = unsafe { args.shared::<i32>(place.start + range.start * size_of::<i32>(), range.len()) };
        let wide = |x: T| x.to_i64() as i32;
        let (Some(walk), Some(zeros)) = (&place.zero, args.optional::<T>(operand + 2)) else {
            to.iter_mut().zip(from).for_each(|(y, x)| *y = wide(*x));
            return;
        };
        let [step] = walk.inner_strides();
        let mut done = 0;
        for run in walk.runs(range) {
            let (to, from) = (&mut to[done..done + run.len], &from[done..done + run.len]);
            done += run.len;
            let zeros = &zeros[run.at[0]..];
            if step == 0 {
                let zero = wide(zeros[0]);
                to.iter_mut().zip(from).for_each(|(y, x)| *y = wide(*x) - zero);
            } else {
                to.iter_mut().zip(from).zip(zeros).for_each(|((y, x), zero)| *y = wide(*x) - wide(*zero));
            }
        }
    }

    /// Runs a phase of the i32 kernel.
    fn run_inner(&self, phase: usize, args: &mut Args<'_>) -> Result<()> {
        let shared = args.raw_shared();
        assert!(self.bytes <= shared.byte_len(), "the workspace is too small");
        let inputs = self.places.each_ref().map(|place| {
            // SAFETY: inside the workspace, checked above; written in the first phase and not changed until the step
            // ends.
            Some(unsafe {
                let first = NonNull::new_unchecked(shared.as_ptr().add(place.start));
                View::from_raw(first, place.elements * size_of::<i32>(), DType::I32)
            })
        });
        let outputs = [args.raw_output(0)];
        let (part, scratch) = (args.part(), args.scratch::<u8>());
        // SAFETY: stands for `args`, which is borrowed exclusively; the inner kernel's own workspace comes first.
        let mut args = unsafe { Args::new(&inputs, &outputs, shared, scratch, self.phases[phase], part) };
        self.inner.run(phase - 1, &mut args)
    }
}
