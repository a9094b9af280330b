//! A single launch as a kernel: which function, how many threads, which parameters.

use super::{Address, Args, Function, Kernel, Stream};
use crate::error::{Error, Result};
use std::ffi::c_void;

/// Most elements of a tensor that kernels index: they do so with 32 bits.
pub const MAX_ELEMENTS: usize = i32::MAX as usize;

/// Most parameters of a kernel.
const MAX_PARAMETERS: usize = 32;

/// Threads of a block, unless a launch says otherwise: THREADS of `prelude.cuh`.
pub const THREADS: usize = 256;

/// Blocks of [`THREADS`] threads that have together at least `n` threads; one if there is nothing to do.
pub fn blocks(n: usize) -> u32 {
    n.div_ceil(THREADS).clamp(1, MAX_ELEMENTS) as u32
}

/// What kernels divide numbers below 2^31 by `n` with (Granlund and Montgomery 1994): Divisor of `index.cuh`.
pub fn divisor(n: usize) -> [u32; 3] {
    let n = n.clamp(1, MAX_ELEMENTS) as u64;
    let shift = n.next_power_of_two().trailing_zeros();
    let factor = (((1 << shift) - n) << 32) / n + 1;
    [n as u32, factor as u32, shift]
}

/// Divisors for the extents of at most 8 axes, outermost first.
pub fn divisors(extents: impl IntoIterator<Item = usize>) -> [[u32; 3]; 8] {
    let mut out = [divisor(1); 8];
    out.iter_mut().zip(extents).for_each(|(out, n)| *out = divisor(n));
    out
}

/// Numbers for at most 8 axes, outermost first: Dims of `prelude.cuh`.
pub fn dims(numbers: impl IntoIterator<Item = usize>) -> [u32; 8] {
    let mut out = [0; 8];
    out.iter_mut().zip(numbers).for_each(|(out, n)| *out = n as u32);
    out
}

/// Where `N` tensors have the elements of an index space of at most 8 axes: their extents and, for each tensor, the distance
/// between neighbours along them, outermost first. Walk of `walk.cuh`, for [`Launch::structure`].
pub fn walk<const N: usize>(axes: impl IntoIterator<Item = (usize, [usize; N])>) -> Vec<u32> {
    let axes: Vec<(usize, [usize; N])> = axes.into_iter().collect();
    let mut words = vec![axes.len().max(1) as u32];
    words.extend(divisors(axes.iter().map(|axis| axis.0)).as_flattened());
    (0..N).for_each(|n| words.extend(dims(axes.iter().map(|axis| axis.1[n]))));
    words
}

/// What a launch can be given by value.
///
/// # Safety
/// The type has no padding and no pointers, and is laid out as in C.
pub unsafe trait Scalar: Copy + Send + Sync + 'static {}

// SAFETY: plain numbers.
unsafe impl Scalar for u32 {}
// SAFETY: as above.
unsafe impl Scalar for i32 {}
// SAFETY: as above.
unsafe impl Scalar for f32 {}
// SAFETY: as above.
unsafe impl Scalar for u64 {}
// SAFETY: as above.
unsafe impl Scalar for i64 {}
// SAFETY: an array is its elements, one after another.
unsafe impl<T: Scalar, const N: usize> Scalar for [T; N] {}

/// One parameter of a launch.
#[derive(Clone, Debug)]
enum Parameter {
    Input(usize),
    Output(usize),
    Workspace(usize),
    /// Bytes from this offset on in the launch's values.
    Value(usize),
}

/// A launch of one function. Parameters are given in the function's order; their number and sizes are checked against what the
/// PTX declares.
pub struct Launch {
    function: Function,
    grid: [u32; 3],
    block: [u32; 3],
    parameters: Vec<Parameter>,
    /// Parameters that are passed by value, each at a multiple of 8.
    values: Vec<u64>,
    sizes: Vec<usize>,
    workspace: usize,
}

impl Launch {
    /// A launch of `grid` blocks with the usual number of threads, without parameters.
    pub fn new(function: Function, grid: [u32; 3]) -> Launch {
        let (parameters, values, sizes) = (vec![], vec![], vec![]);
        Launch { function, grid, block: [THREADS as u32, 1, 1], parameters, values, sizes, workspace: 0 }
    }

    /// Threads of a block.
    pub fn block(self, block: [u32; 3]) -> Launch {
        Launch { block, ..self }
    }

    /// The address of an input; null if it is absent.
    pub fn input(self, index: usize) -> Launch {
        self.parameter(Parameter::Input(index), size_of::<Address>())
    }

    /// The address of an output.
    pub fn output(self, index: usize) -> Launch {
        self.parameter(Parameter::Output(index), size_of::<Address>())
    }

    /// The address of `len` bytes of workspace, from `offset` on.
    pub fn workspace(mut self, offset: usize, len: usize) -> Launch {
        self.workspace = self.workspace.max(offset + len);
        self.parameter(Parameter::Workspace(offset), size_of::<Address>())
    }

    /// A value.
    pub fn value<T: Scalar>(self, value: T) -> Launch {
        self.structure(&[value])
    }

    /// A structure by value: its members, one after another.
    pub fn structure<T: Scalar>(mut self, members: &[T]) -> Launch {
        let (at, size) = (self.values.len(), size_of_val(members));
        self.values.resize(at + size.div_ceil(size_of::<u64>()), 0);
        // SAFETY: the words from `at` on have room for the members, which have no padding.
        unsafe {
            let to = self.values.as_mut_ptr().add(at).cast::<u8>();
            to.copy_from_nonoverlapping(members.as_ptr().cast(), size);
        }
        self.parameter(Parameter::Value(at), size)
    }

    fn parameter(mut self, parameter: Parameter, size: usize) -> Launch {
        self.parameters.push(parameter);
        self.sizes.push(size);
        self
    }

    /// The finished kernel.
    ///
    /// # Errors
    /// `Internal` if the parameters are not those that the function declares.
    pub fn build(self) -> Result<Box<dyn Kernel>> {
        let (name, declared) = (&self.function.name, &self.function.parameters);
        if self.sizes != *declared || self.sizes.len() > MAX_PARAMETERS {
            let given = &self.sizes;
            return Err(Error::internal(format!("parameters of sizes {given:?} for {name}, which takes {declared:?}")));
        }
        Ok(Box::new(self))
    }
}

impl Kernel for Launch {
    fn workspace_bytes(&self) -> usize {
        self.workspace
    }

    fn enqueue(&self, stream: &Stream, args: &Args<'_>) -> Result<()> {
        let mut addresses = [Address::default(); MAX_PARAMETERS];
        let mut parameters = [std::ptr::null_mut::<c_void>(); MAX_PARAMETERS];
        for (i, parameter) in self.parameters.iter().enumerate() {
            addresses[i] = match parameter {
                Parameter::Input(input) => args.inputs.get(*input).copied().unwrap_or_default(),
                Parameter::Output(output) => args.outputs[*output],
                Parameter::Workspace(offset) => args.workspace.offset(*offset),
                Parameter::Value(_) => Address::default(),
            };
            parameters[i] = match parameter {
                Parameter::Value(at) => (&raw const self.values[*at]).cast_mut().cast(),
                _ => (&raw mut addresses[i]).cast(),
            };
        }
        let entered = self.function.device.enter()?;
        let ([gx, gy, gz], [bx, by, bz]) = (self.grid, self.block);
        // SAFETY: a function of this context with parameters of the declared sizes, which the call copies; the plan gives each
        // operand memory of its shape's size that is valid until the stream has come past the launch.
        let code = unsafe {
            let (function, none) = (self.function.handle, std::ptr::null_mut());
            let launch = entered.driver.cuLaunchKernel;
            launch(function, gx, gy, gz, bx, by, bz, 0, stream.handle, parameters.as_mut_ptr(), none)
        };
        entered.check(code, "cuLaunchKernel").map_err(|e| e.context(&self.function.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisors_divide() {
        let numbers =
            [0, 1, 2, 3, 6, 7, 255, 256, 257, 640, 65535, 65536, 1_000_003, 0x3fff_ffff, 0x7fff_fffe, 0x7fff_ffff];
        for d in numbers.into_iter().filter(|&d| d > 0) {
            let [value, factor, shift] = divisor(d as usize).map(u64::from);
            assert_eq!(value, d);
            for n in numbers.into_iter().flat_map(|n| [n, n / d * d, (n / d * d).saturating_sub(1)]) {
                let high = (n * factor) >> 32;
                assert!(high + n < 1 << 32);
                assert_eq!((high + n) >> shift, n / d, "{n} / {d}");
            }
        }
    }
}
