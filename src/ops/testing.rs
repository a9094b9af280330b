//! Runs one operator by itself: on every instruction set that the machine has, with parts in shuffled order.

use super::elementwise::{Number, for_type};
use super::evaluate::{How, evaluate_as, execute_as};
use super::{Inputs, Kernel, Op, Tensor, TensorInfo};
use crate::cpu::isa::Isa;
use crate::error::Result;
#[cfg(feature = "write")]
use crate::schema;
use crate::tensor::{DType, Element, Layout, TensorType, View};

/// Runs `op` on an instruction set and returns its outputs.
pub fn run(op: &Op, inputs: &[Option<&Tensor>], isa: Isa) -> Result<Vec<Tensor>> {
    run_stored(op, inputs, &[], usize::MAX, isa)
}

/// Runs `op` on every instruction set, and on a GPU where there is one that has a kernel for it; the names of both, and outputs.
pub fn run_everywhere(op: &Op, inputs: &[Option<&Tensor>]) -> Vec<(String, Vec<Tensor>)> {
    let on = |isa: Isa| (format!("{isa:?}"), run(op, inputs, isa).unwrap_or_else(|e| panic!("{op:?} on {isa:?}: {e}")));
    let all: Vec<(String, Vec<Tensor>)> = Isa::available().map(on).collect();
    #[cfg(feature = "cuda")]
    if let Some(device) = super::testing_cuda::device() {
        let infos: Vec<TensorInfo> = all[0].1.iter().map(|t| t.info).collect();
        let got = super::testing_cuda::run(op, inputs, &[], &infos, device);
        let got = got.unwrap_or_else(|e| panic!("{op:?} on {device:?}: {e}"));
        return all.into_iter().chain(got.map(|got| (format!("{device:?}"), got))).collect();
    }
    all
}

/// Runs a kernel that is prepared for these inputs and returns its outputs.
pub fn run_kernel(kernel: &dyn Kernel, inputs: &[Option<&Tensor>], outputs: &[TensorInfo]) -> Result<Vec<Tensor>> {
    let views: Vec<Option<View<'_>>> = inputs.iter().map(|t| t.map(Tensor::view)).collect();
    execute_as(kernel, &views, outputs, circumstances(&[], outputs.len()))
}

/// The rows of an f32 tensor along the last dimension with so many other elements between them.
pub fn apart(tensor: &Tensor, gap: usize) -> Tensor {
    let width = tensor.info.dims.last().copied().unwrap_or(1);
    let rows: Vec<&[f32]> = tensor.elements().chunks_exact(width.max(1)).collect();
    let elements = rows.join(&vec![f32::NAN; gap][..]);
    Tensor::new(&[elements.len()], &elements).expect("the test's shape is valid")
}

/// As [`run`], with the bytes of inputs in the given layouts, and without outputs beyond the first `outputs`. Kernels
/// planned for one thread and for several must give the same bytes.
fn run_stored(
    op: &Op,
    inputs: &[Option<&Tensor>],
    layouts: &[Layout],
    outputs: usize,
    isa: Isa,
) -> Result<Vec<Tensor>> {
    let circumstances = circumstances(layouts, outputs);
    let [one, several] = [1, THREADS].map(|threads| evaluate_as(op, inputs, isa, How { threads, ..circumstances }));
    let (one, several) = (one?, several?);
    for (i, (one, several)) in one.iter().zip(&several).enumerate() {
        assert_eq!(one.info, several.info, "{op:?}, output {i} on {isa}");
        assert!(one.data[..] == several.data[..], "{op:?}, output {i} on {isa} depends on the number of threads");
    }
    Ok(several)
}

/// Threads for which kernels are planned, so that there are parts.
pub const THREADS: usize = 4;

/// Kernels must write every element, so what was there before must not show, and parts may run in any order.
fn circumstances(layouts: &[Layout], outputs: usize) -> How<'_> {
    How { layouts, derive: true, threads: THREADS, outputs, fill: 0xa5, order: &shuffled }
}

/// 0..n in a scrambled, repeatable order.
fn shuffled(n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut random = Random::new(n as u64);
    (1..n).rev().for_each(|i| order.swap(i, random.below(i + 1)));
    order
}

/// Checks that `op` gives exactly `want`, on every instruction set.
pub fn check(op: impl Into<Op>, inputs: &[&Tensor], want: &[Tensor]) {
    check_close(op, inputs, want, 0.0);
}

/// Checks that `op` gives `want` on every instruction set; floats within `tolerance` of the largest element. Outputs
/// beyond those wanted are unused.
pub fn check_close(op: impl Into<Op>, inputs: &[&Tensor], want: &[Tensor], tolerance: f64) {
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(|t| Some(*t)).collect();
    check_optional(op, &inputs, want, tolerance);
}

/// As [`check_close`], with absent inputs.
pub fn check_optional(op: impl Into<Op>, inputs: &[Option<&Tensor>], want: &[Tensor], tolerance: f64) {
    check_stored(op, inputs, &[], want, tolerance);
}

/// As [`check_optional`], with the bytes of inputs in the given layouts, row-major where none is given.
pub fn check_stored(
    op: impl Into<Op>,
    inputs: &[Option<&Tensor>],
    layouts: &[Layout],
    want: &[Tensor],
    tolerance: f64,
) {
    let op = op.into();
    for isa in Isa::available() {
        let got =
            run_stored(&op, inputs, layouts, want.len(), isa).unwrap_or_else(|e| panic!("{op:?} on {isa:?}: {e}"));
        compare(&op, &format!("{isa:?}"), &got, want, |_| tolerance);
    }
    #[cfg(feature = "cuda")]
    if let Some(device) = super::testing_cuda::device() {
        let infos: Vec<TensorInfo> = want.iter().map(|t| t.info).collect();
        let got = super::testing_cuda::run(&op, inputs, layouts, &infos, device);
        if let Some(got) = got.unwrap_or_else(|e| panic!("{op:?} on {device:?}: {e}")) {
            compare(&op, &format!("{device:?}"), &got, want, |dtype| tolerance.max(rounding(dtype)));
        }
    }
}

/// What another device's mathematical functions and order of sums may change, relative to the largest element: a few units in
/// the last place of f32, and the neighbour that a sum of f16 or bf16 then rounds to.
#[cfg(feature = "cuda")]
fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 2e-6,
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ => 0.0,
    }
}

fn compare(op: &Op, on: &str, got: &[Tensor], want: &[Tensor], tolerance: impl Fn(DType) -> f64) {
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let tolerance = tolerance(want.info.dtype);
        assert_eq!(got.info, want.info, "{op:?}, output {i} on {on}");
        let error = difference(got, want);
        assert!(error <= tolerance, "{op:?}, output {i} on {on}: error {error:.2e}\n got {got:?}\nwant {want:?}");
    }
}

/// Checks that the attributes survive being written to a model file and read back.
#[cfg(feature = "write")]
pub fn round_trip(op: impl Into<Op>) {
    let op = op.into();
    let mut b = flatbuffers::FlatBufferBuilder::new();
    let (attributes_type, attributes) = op.write(&mut b);
    let inputs = Some(b.create_vector::<i32>(&[]));
    let outputs = Some(b.create_vector::<u32>(&[]));
    let args =
        schema::NodeArgs { attributes_type, attributes: Some(attributes), inputs, outputs, ..Default::default() };
    let node = schema::Node::create(&mut b, &args);
    b.finish_minimal(node);
    let node = flatbuffers::root::<schema::Node<'_>>(b.finished_data()).expect("a valid table");
    assert_eq!(Op::read(&node).expect("readable attributes"), Some(op));
}

/// The message with which `infer` refuses these inputs.
pub fn infer_error(op: impl Into<Op>, inputs: &[&Tensor]) -> String {
    let types: Vec<TensorType> = inputs.iter().map(|t| t.ty()).collect();
    let refs: Vec<Option<&TensorType>> = types.iter().map(Some).collect();
    let data: Vec<Option<View<'_>>> = inputs.iter().map(|t| Some(t.view())).collect();
    op.into().infer(&Inputs::with_data(&refs, &data)).expect_err("infer refuses this").to_string()
}

/// Largest difference relative to the largest finite element of `want` (or 1 if that is smaller than tiny); infinite
/// where one is NaN or infinite and the other is not the same. Integers differ by 0 or infinity.
pub fn difference(got: &Tensor, want: &Tensor) -> f64 {
    let (a, b) = (as_f64(got), as_f64(want));
    let largest = b.iter().filter(|x| x.is_finite()).fold(0.0f64, |m, x| m.max(x.abs()));
    let scale = if largest < 1e-30 { 1.0 } else { largest };
    let one = |(x, y): (&f64, &f64)| match () {
        _ if x == y || x.is_nan() && y.is_nan() => 0.0,
        _ if !want.info.dtype.is_float() || !x.is_finite() || !y.is_finite() => f64::INFINITY,
        _ => (x - y).abs() / scale,
    };
    a.iter().zip(&b).map(one).fold(0.0, f64::max)
}

/// A tensor of the given type, of the given values rounded or truncated to it.
pub fn tensor(dtype: DType, dims: &[usize], values: &[f64]) -> Tensor {
    fn typed<T: Number>(dims: &[usize], values: &[f64]) -> Tensor {
        let elements: Vec<T> = values.iter().map(|&x| T::from_f64(x)).collect();
        Tensor::new(dims, &elements).expect("the test's shape is valid")
    }
    let mut t = for_type!(dtype, typed(dims, values));
    t.info.dtype = dtype;
    t
}

/// The elements as f64.
pub fn as_f64(t: &Tensor) -> Vec<f64> {
    match t.info.dtype {
        DType::F32 => t.elements::<f32>().iter().map(|&x| x.into()).collect(),
        DType::F64 => t.elements::<f64>().to_vec(),
        DType::F16 => t.elements::<half::f16>().iter().map(|&x| x.into()).collect(),
        DType::BF16 => t.elements::<half::bf16>().iter().map(|&x| x.into()).collect(),
        DType::I8 => t.elements::<i8>().iter().map(|&x| x.into()).collect(),
        DType::I16 => t.elements::<i16>().iter().map(|&x| x.into()).collect(),
        DType::I32 => t.elements::<i32>().iter().map(|&x| x.into()).collect(),
        DType::I64 => t.elements::<i64>().iter().map(|&x| x as f64).collect(),
        DType::U8 | DType::Bool => t.elements::<u8>().iter().map(|&x| x.into()).collect(),
        DType::U16 => t.elements::<u16>().iter().map(|&x| x.into()).collect(),
        DType::U32 => t.elements::<u32>().iter().map(|&x| x.into()).collect(),
        DType::U64 => t.elements::<u64>().iter().map(|&x| x as f64).collect(),
    }
}

/// The tensor whose element at each coordinate is `element(coordinate)`; for references that follow definitions.
pub fn build<T: Element>(dims: &[usize], mut element: impl FnMut(&[usize]) -> T) -> Tensor {
    let mut coordinate = vec![0; dims.len()];
    let mut elements = vec![];
    for _ in 0..dims.iter().product() {
        elements.push(element(&coordinate));
        for (c, &d) in coordinate.iter_mut().zip(dims).rev() {
            *c += 1;
            if *c < d {
                break;
            }
            *c = 0;
        }
    }
    Tensor::new(dims, &elements).expect("the test's shape is valid")
}

/// The element of `x` at a coordinate. Panics outside the tensor.
pub fn at<T: Element>(x: &Tensor, coordinate: &[usize]) -> T {
    assert_eq!(coordinate.len(), x.info.dims.len());
    let fold = |i, (&c, &d): (&usize, &usize)| if c < d { i * d + c } else { panic!("{coordinate:?} is outside") };
    x.elements::<T>()[coordinate.iter().zip(x.info.dims.iter()).fold(0, fold)]
}

/// A small repeatable source of random numbers (xorshift64*).
pub struct Random(u64);

impl Random {
    /// Numbers that depend on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() >> 33) as usize % n
    }

    /// A number in `low..high`.
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.bits() >> 40) as f32 / (1u64 << 24) as f32)
    }

    /// A tensor of elements in -1..1.
    pub fn tensor(&mut self, dims: &[usize]) -> Tensor {
        self.tensor_of(dims, |r| r.range(-1.0, 1.0))
    }

    /// A tensor whose elements `element` makes.
    pub fn tensor_of<T: Element>(&mut self, dims: &[usize], mut element: impl FnMut(&mut Self) -> T) -> Tensor {
        let elements: Vec<T> = (0..dims.iter().product()).map(|_| element(self)).collect();
        Tensor::new(dims, &elements).expect("the test's shape is valid")
    }
}
