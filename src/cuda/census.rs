//! What numbers a tensor in a GPU's memory has: as [`Census`] says of one in the host's.

use super::{Address, Args, Function, Launch, Memory, Module, Pinned, Stream, blocks};
use crate::error::Result;
use crate::tensor::{Census, DType};
use std::sync::Arc;

static MODULE: Module = crate::cuda_module!("census");

/// Most blocks that count; each thread takes several elements where there are more.
const MAX_BLOCKS: u32 = 512;

/// The result for no elements, as the kernel has it: numbers that are NaN, infinite, the first of both, the bits of the largest.
const NONE: [u32; 4] = [0, 0, u32::MAX, 0];

/// Counts numbers, one tensor at a time.
pub struct Counter {
    function: Function,
    result: Memory,
    /// The result on its way to the GPU and back.
    staged: Pinned,
}

impl Counter {
    /// With memory of its own, which is allocated in `stream`.
    pub fn new(stream: &Arc<Stream>) -> Result<Counter> {
        let device = stream.device();
        let function = Function::new(device, &MODULE, "census")?;
        let (result, staged) = (Memory::new(stream, size_of_val(&NONE))?, Pinned::zeroed(device, size_of_val(&NONE))?);
        stream.synchronize()?;
        Ok(Counter { function, result, staged })
    }

    /// Waits for what is in `stream`, and counts `n` elements at `address`, which are [`MAX_ELEMENTS`](super::MAX_ELEMENTS) at
    /// most.
    pub fn count(&mut self, stream: &Stream, address: Address, (dtype, n): (DType, usize)) -> Result<Census> {
        if !dtype.is_float() {
            return Ok(Census::default());
        }
        let launch = Launch::new(self.function.clone(), [blocks(n).min(MAX_BLOCKS), 1, 1]).input(0).output(0);
        let kernel = launch.value(n as u32).value(dtype as u32).build()?;
        for (bytes, word) in self.staged.chunks_exact_mut(4).zip(NONE) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        let at = self.result.address();
        // SAFETY: both are that long, and the staged bytes are left alone until the stream has been waited for.
        unsafe { stream.write(at, self.staged.as_ptr(), self.staged.len())? };
        kernel.enqueue(stream, &Args { inputs: &[address], outputs: &[at], workspace: Address::default() })?;
        // SAFETY: as above.
        unsafe { stream.read(self.staged.as_mut_ptr(), at, self.staged.len())? };
        stream.synchronize()?;
        let mut words = NONE;
        for (word, bytes) in words.iter_mut().zip(self.staged.as_chunks().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        let [nan, infinite, first, largest] = words;
        let first = (first != u32::MAX).then_some(first.into());
        Ok(Census { nan: nan.into(), infinite: infinite.into(), first, largest: f32::from_bits(largest).into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing_cuda;
    use crate::tensor::{Buffer, View};

    #[test]
    fn a_gpu_counts_as_the_processor_does() {
        let Some(device) = testing_cuda::device() else { return };
        let stream = Arc::new(Stream::new(device).unwrap());
        let mut counter = Counter::new(&stream).unwrap();
        let odd = [(3, f32::NAN), (700, f32::INFINITY), (99_999, f32::NEG_INFINITY), (150_001, -60_000.0)];
        let floats = |n: usize, odd: &[(usize, f32)]| {
            let mut floats: Vec<f32> = (0..n).map(|i| (i % 97) as f32 / 8.0 - 6.0).collect();
            odd.iter().filter(|(at, _)| *at < n).for_each(|&(at, x)| floats[at] = x);
            floats
        };
        for n in [0, 1, 4, 1000, 200_000] {
            for odd in [&odd[..], &odd[1..], &[]] {
                let x = floats(n, odd);
                let bits16 = |to: fn(f32) -> u16| Buffer::from_elements(&x.iter().map(|&x| to(x)).collect::<Vec<_>>());
                let forms = [
                    (DType::F32, Buffer::from_elements(&x)),
                    (DType::F64, Buffer::from_elements(&x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>())),
                    (DType::F16, bits16(|x| half::f16::from_f32(x).to_bits())),
                    (DType::BF16, bits16(|x| half::bf16::from_f32(x).to_bits())),
                ];
                for (dtype, bytes) in forms {
                    let bytes = bytes.unwrap();
                    let want = Census::of(&View::new(&bytes, dtype));
                    let memory = Memory::copy_of(&stream, &bytes).unwrap();
                    assert_eq!(counter.count(&stream, memory.address(), (dtype, n)).unwrap(), want, "{n} {dtype}");
                }
            }
        }
        let large = Buffer::from_elements(&[1e300, f64::INFINITY]).unwrap();
        let memory = Memory::copy_of(&stream, &large).unwrap();
        let got = counter.count(&stream, memory.address(), (DType::F64, 2)).unwrap();
        assert_eq!(got, Census { nan: 0, infinite: 1, first: Some(1), largest: f32::MAX.into() });
    }
}
