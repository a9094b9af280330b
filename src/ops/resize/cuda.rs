//! A thread for each element, after a launch that computes what the elements are made of.

use super::axis::{Filter, Map};
use super::{Coordinates, Interpolation, Resize};
use crate::cuda::{Launch, Module, blocks, dims, divisors};
use crate::error::Result;
use crate::ops::cuda::is_single;
use crate::ops::elementwise::{Number, for_type};
use crate::ops::strided_cuda::{Copy, words};
use crate::ops::{CudaKernel, PrepareCuda, Tensor};
use crate::tensor::DType;

static MODULE: Module = crate::cuda_module!("resize");

/// Most axes that are resized.
const AXES: usize = 3;

/// An axis that is not resized.
const WHOLE: Map = Map { from: 1, to: 1, scale: 1.0, region: (0.0, 1.0) };

/// An axis that is resized: its parameters as the kernels take them.
#[derive(Clone, Copy, Default)]
struct Table {
    /// Scale, region, and what distances are multiplied with.
    map: [u64; 4],
    /// Extents, taps, where they begin in the tables, mode.
    table: [u32; 5],
}

/// The output: three axes that are resized, each with others before it, and what is inside of them.
struct Frame {
    tables: [Table; AXES],
    extents: [usize; 7],
    strides: [usize; 7],
    /// Elements of the tables, and of the longest axis.
    taps: usize,
    longest: usize,
}

/// The kernel for the axes that are resized.
pub fn prepare(cx: &PrepareCuda<'_>, op: &Resize, mut maps: Vec<(usize, Map)>) -> Result<Option<CudaKernel>> {
    let dtype = cx.outputs[0].dtype;
    let computed = is_single(dtype) || matches!(dtype, DType::U8 | DType::I8);
    if maps.len() > AXES || cx.has_empty_input() || op.mode != Interpolation::Nearest && !computed {
        return Ok(None);
    }
    if maps.is_empty() {
        return Copy::new(dtype.size(), (0, 0), [(cx.outputs[0].numel(), 1, 1)]).kernel(cx, 0, 0);
    }
    maps.sort_by_key(|m| m.0);
    // Nothing can be moved in words that hold several elements if some have another value.
    let widest = op.mode == Interpolation::Nearest && op.coordinates != Coordinates::CropAndResize;
    let last = maps[maps.len() - 1].0;
    let inner = cx.dims(0)[last + 1..].iter().product();
    let (word, len) = if widest { words(dtype.size(), inner, []) } else { (dtype.size(), inner) };
    let frame = Frame::new(cx, op, &maps, len);
    let tables = frame.tables(cx, op)?;
    let elements = if op.mode == Interpolation::Nearest { frame.nearest(cx, op, word)? } else { frame.blended(cx, op)? };
    Ok(Some(Box::new(vec![tables, elements])))
}

impl Frame {
    /// The frame of an output whose last resized axis has `len` words inside of it.
    fn new(cx: &PrepareCuda<'_>, op: &Resize, maps: &[(usize, Map)], len: usize) -> Self {
        let from = cx.dims(0);
        let mut frame =
            Frame { tables: Default::default(), extents: [1; 7], strides: [0; 7], taps: 0, longest: 1 };
        (frame.extents[6], frame.strides[6]) = (len, 1);
        let mut stride = len;
        for slot in (0..AXES).rev() {
            let Some(i) = (slot + maps.len()).checked_sub(AXES) else {
                frame.set(op, slot, WHOLE, false);
                continue;
            };
            let (axis, map) = maps[i];
            frame.set(op, slot, map, true);
            let previous = i.checked_sub(1).map_or(0, |i| maps[i].0 + 1);
            let before: usize = from[previous..axis].iter().product();
            (frame.extents[2 * slot], frame.strides[2 * slot]) = (before, stride * map.from);
            frame.strides[2 * slot + 1] = stride;
            stride *= map.from * before;
        }
        frame
    }

    /// Sets an axis; an element is itself if the axis is not resized.
    fn set(&mut self, op: &Resize, slot: usize, map: Map, resized: bool) {
        let filter = Filter::new(op, map.scale);
        let (width, mode) = if resized { (filter.width, op.mode) } else { (1, Interpolation::Nearest) };
        let numbers = [map.scale, map.region.0, map.region.1, filter.stretch];
        let first = self.taps;
        self.tables[slot] = Table {
            map: numbers.map(f64::to_bits),
            table: [map.from as u32, map.to as u32, width as u32, first as u32, mode as u32],
        };
        self.extents[2 * slot + 1] = map.to;
        self.taps += map.to * width;
        self.longest = self.longest.max(map.to);
    }

    fn tables(&self, cx: &PrepareCuda<'_>, op: &Resize) -> Result<CudaKernel> {
        let launch = cx.grid(&MODULE, "resize_tables", [blocks(self.longest) as usize, AXES, 1])?;
        let launch = self.weights(self.index(launch)).value(self.tables.map(|t| t.map)).value(self.tables.map(|t| t.table));
        let coordinates = match op.coordinates {
            Coordinates::AlignExactCorners => Coordinates::AlignCorners,
            other => other,
        };
        let kinds = [coordinates as u32, op.nearest as u32, op.exclude_outside.into()];
        launch.value([op.cubic_a.to_bits(), kinds[0], kinds[1], kinds[2]]).build()
    }

    fn nearest(&self, cx: &PrepareCuda<'_>, op: &Resize, word: usize) -> Result<CudaKernel> {
        fn bits<T: Number>(value: f64) -> Result<u64> {
            let (mut bits, value) = ([0; 8], Tensor::new(&[1], &[T::from_f64(value)])?);
            bits[..value.data.len()].copy_from_slice(&value.data);
            Ok(u64::from_le_bytes(bits))
        }
        let outside = for_type!(cx.outputs[0].dtype, bits(op.extrapolation.into()))?;
        let launch = self.elements(cx, &format!("resize_nearest_b{}", 8 * word))?;
        self.places(self.index(launch).value(self.count()).value(outside)).build()
    }

    fn blended(&self, cx: &PrepareCuda<'_>, op: &Resize) -> Result<CudaKernel> {
        let launch = self.weights(self.index(self.elements(cx, "resize_blended")?)).value(self.count());
        self.places(launch.value(cx.outputs[0].dtype as u32).value(op.extrapolation)).build()
    }

    fn count(&self) -> u32 {
        self.extents.iter().product::<usize>() as u32
    }

    fn elements(&self, cx: &PrepareCuda<'_>, name: &str) -> Result<Launch> {
        Ok(cx.threads(&MODULE, name, self.count() as usize)?.input(0).output(0))
    }

    fn places(&self, launch: Launch) -> Launch {
        launch.value(divisors(self.extents)).value(dims(self.strides)).value(self.tables.map(|t| t.table))
    }

    fn bytes(&self) -> usize {
        (self.taps * size_of::<u32>()).next_multiple_of(256)
    }

    fn index(&self, launch: Launch) -> Launch {
        launch.workspace(0, self.bytes())
    }

    fn weights(&self, launch: Launch) -> Launch {
        launch.workspace(self.bytes(), self.bytes())
    }
}
