//! A product of matrices as cuBLASLt takes it, and its algorithms as kernels.
//!
//! Operands are row-major here and column-major there, where the same memory is the transposed matrix. So Y = A · B is computed as
//! Yᵀ = Bᵀ · Aᵀ: B is the library's A, and the columns of Y are its rows.

use super::Blas;
use super::descriptors::{Layout, Operation, Preference};
use super::library::{Library, Suggestion};
use crate::cuda::tune::{CONFIG, Config};
use crate::cuda::{APART, Address, Args, Device, Kernel, Stream};
use crate::error::{Error, Result};
use crate::tensor::DType;
use cudarc::cublaslt::sys::{
    cublasComputeType_t as Compute, cublasLtEpilogue_t, cublasLtMatmulAlgo_t,
    cublasLtMatmulAlgoCapAttributes_t as Capability, cublasLtMatmulAlgoConfigAttributes_t as Setting,
    cublasLtMatmulDescAttributes_t as Attribute, cublasLtMatmulPreferenceAttributes_t as Wish,
    cublasLtReductionScheme_t as Reduction, cudaDataType,
};
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// Most algorithms that are tried.
const ALGORITHMS: usize = 8;

/// What an address of an operand is at least a multiple of, and of no more that is known.
const ALIGNMENT: u32 = 16;

/// CUBLAS_OP_N and CUBLAS_OP_T
const OP_N: i32 = 0;
const OP_T: i32 = 1;

/// Bits of `CUBLASLT_ALGO_CAP_NUMERICAL_IMPL_FLAGS`: the types of accumulators and of what is multiplied.
const ACCUMULATORS: u64 = 0xff << 8;
const ACCUMULATOR_32F: u64 = 0x02 << 8;
const FACTORS: u64 = 0xff << 16;
const FACTOR_16F: u64 = 0x01 << 16;
const FACTOR_16BF: u64 = 0x02 << 16;
const FACTOR_TF32: u64 = 0x04 << 16;
const FACTOR_32F: u64 = 0x08 << 16;

/// `epilogue(alpha · A · B + bias + residual)` for a batch of `m` x `k` and `k` x `n` matrices, row-major or transposed.
#[derive(Clone, Debug)]
pub struct Product {
    /// Of all operands: f32, f16 or bf16. Sums are f32.
    pub dtype: DType,
    /// Whether factors that are f32 may be rounded to TF32.
    pub tf32: bool,
    /// Rows, columns and depth.
    pub m: usize,
    #[allow(missing_docs, reason = "as above")]
    pub n: usize,
    #[allow(missing_docs, reason = "as above")]
    pub k: usize,
    /// Number of products.
    pub batch: usize,
    /// The factors.
    pub a: Matrix,
    #[allow(missing_docs, reason = "as above")]
    pub b: Matrix,
    /// What is added: `m` x `n` matrices that are not transposed.
    pub residual: Option<Matrix>,
    /// What is added to each row: the input, and the distance from one product's to the next's.
    pub bias: Option<(usize, usize)>,
    /// Where the result is written.
    pub y: Target,
    /// A factor of the product.
    pub alpha: f32,
    /// What ends the product.
    pub epilogue: Epilogue,
}

/// Matrices in an input. Distances are in elements.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    /// Which input.
    pub input: usize,
    /// Whether columns are stored one after another instead of rows.
    pub transposed: bool,
    /// The distance of rows, or of columns if they are stored instead.
    pub ld: usize,
    /// The distance of the matrices of neighbouring products.
    pub stride: usize,
}

/// Where a result is written.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// To output 0.
    Output {
        /// The distance of rows.
        ld: usize,
        /// The distance of products.
        stride: usize,
    },
    /// To the beginning of the workspace, as f32 one after another; without bias, residual and epilogue.
    Sums,
}

/// A function that ends a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    #[allow(missing_docs, reason = "it says all")]
    None,
    /// max(x, 0). What becomes of a NaN is not documented.
    Relu,
    /// Gelu by the hyperbolic tangent, to the precision of the smaller types.
    GeluTanh,
}

/// The descriptors of a product.
struct Descriptors {
    /// The only one that changes: it holds the address of the bias.
    operation: Mutex<Operation>,
    a: Layout,
    b: Layout,
    c: Layout,
    d: Layout,
}

/// A product by one algorithm.
pub struct Algorithm {
    device: Arc<Device>,
    product: Arc<Product>,
    descriptors: Arc<Descriptors>,
    algo: cublasLtMatmulAlgo_t,
    /// Bytes of intermediate results in front of the library's workspace.
    sums: usize,
    workspace: usize,
}

impl Product {
    /// What algorithms are chosen for.
    pub fn key(&self) -> String {
        let mut key =
            format!("{}{} {}x{}x{}", self.dtype, if self.tf32 { " tf32" } else { "" }, self.m, self.n, self.k);
        let mut matrix = |name: char, x: &Matrix| {
            let transposed = if x.transposed { "t" } else { "" };
            _ = write!(key, " {name}{transposed}:{}:{}", x.ld, if self.batch > 1 { x.stride } else { 0 });
        };
        matrix('a', &self.a);
        matrix('b', &self.b);
        self.residual.iter().for_each(|c| matrix('c', c));
        match self.y {
            Target::Output { ld, stride } => _ = write!(key, " y:{ld}:{}", if self.batch > 1 { stride } else { 0 }),
            Target::Sums => key.push_str(" sums"),
        }
        _ = write!(key, " batch:{} {:?}", self.batch, self.epilogue);
        if let Some((_, stride)) = self.bias {
            _ = write!(key, " bias:{}", if self.batch > 1 { stride } else { 0 });
        }
        key
    }

    /// The algorithms that the library proposes, best first: those that give the same bits each time, and round nothing that the
    /// product does not allow to be rounded.
    pub(super) fn algorithms(self, device: &Arc<Device>, blas: &Blas) -> Result<Vec<(Config, Algorithm)>> {
        let library = blas.library;
        let descriptors = Descriptors::new(library, &self)?;
        let preference = preference(library, device.info().capability)?;
        let mut found = [Suggestion::EMPTY; ALGORITHMS];
        let mut count = 0;
        // SAFETY: live descriptors; at most as many results are written as there is room for, and their number.
        let code = unsafe {
            let Descriptors { operation, a, b, c, d } = &descriptors;
            let operation = operation.lock().unwrap_or_else(PoisonError::into_inner).handle;
            let (find, results) = (library.functions.cublasLtMatmulAlgoGetHeuristic, found.as_mut_ptr());
            let (a, b, c, d) = (a.handle, b.handle, c.handle, d.handle);
            find(blas.handle, operation, a, b, c, d, preference.handle, ALGORITHMS as i32, results, &mut count)
        };
        library.check(code, "cublasLtMatmulAlgoGetHeuristic")?;
        let sums = match self.y {
            Target::Output { .. } => 0,
            Target::Sums => (self.batch * self.m * self.n * size_of::<f32>()).next_multiple_of(APART),
        };
        let (product, descriptors) = (Arc::new(self), Arc::new(descriptors));
        let mut algorithms = vec![];
        for Suggestion { algo, workspace, .. } in found.into_iter().take(count.max(0) as usize).filter(|s| s.state == 0)
        {
            let config = config(library, &algo)?;
            if is_deterministic(&config) && product.allows(implementation(library, &algo)?) {
                let (device, product, descriptors) = (device.clone(), product.clone(), descriptors.clone());
                algorithms.push((config, Algorithm { device, product, descriptors, algo, sums, workspace }));
            }
        }
        Ok(algorithms)
    }

    /// How the library is to compute. Its plain 32-bit arithmetic rounds no factors.
    fn compute(&self) -> Compute {
        if self.dtype == DType::F32 && self.tf32 {
            Compute::CUBLAS_COMPUTE_32F_FAST_TF32
        } else {
            Compute::CUBLAS_COMPUTE_32F
        }
    }

    /// Whether an algorithm may be used that is implemented so: whatever the library's environment makes of the arithmetic that was
    /// asked for, factors are of their own type, and sums f32.
    fn allows(&self, implementation: u64) -> bool {
        let factors = match self.dtype {
            DType::F16 => FACTOR_16F,
            DType::BF16 => FACTOR_16BF,
            _ if self.tf32 => FACTOR_32F | FACTOR_TF32,
            _ => FACTOR_32F,
        };
        implementation & (FACTORS | ACCUMULATORS) & !(factors | ACCUMULATOR_32F) == 0
    }

    fn data_type(&self) -> Result<cudaDataType> {
        match self.dtype {
            DType::F32 => Ok(cudaDataType::CUDA_R_32F),
            DType::F16 => Ok(cudaDataType::CUDA_R_16F),
            DType::BF16 => Ok(cudaDataType::CUDA_R_16BF),
            dtype => Err(Error::internal(format!("a product of {dtype} by cuBLASLt"))),
        }
    }
}

impl Descriptors {
    fn new(library: &'static Library, product: &Product) -> Result<Descriptors> {
        let Product { m, n, k, batch, .. } = *product;
        let dtype = product.data_type()?;
        let factor = |x: &Matrix, rows: usize, cols: usize| {
            let (rows, cols) = if x.transposed { (cols, rows) } else { (rows, cols) };
            Layout::new(library, dtype, (cols, rows), x.ld, (batch, x.stride))
        };
        let result = |dtype, ld, stride| Layout::new(library, dtype, (n, m), ld, (batch, stride));
        let (dtype, ld, stride) = match product.y {
            Target::Output { ld, stride } => (dtype, ld, stride),
            Target::Sums => (cudaDataType::CUDA_R_32F, n, m * n),
        };
        Ok(Descriptors {
            operation: Mutex::new(operation(library, product)?),
            a: factor(&product.b, k, n)?,
            b: factor(&product.a, m, k)?,
            c: product.residual.map_or_else(|| result(dtype, ld, stride), |c| result(dtype, c.ld, c.stride))?,
            d: result(dtype, ld, stride)?,
        })
    }
}

fn operation(library: &'static Library, product: &Product) -> Result<Operation> {
    use cublasLtEpilogue_t::*;
    let mut operation = Operation::new(library, product.compute())?;
    let transposed = |x: &Matrix| match x.transposed {
        true => OP_T,
        false => OP_N,
    };
    operation.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, transposed(&product.b))?;
    operation.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, transposed(&product.a))?;
    let epilogue = match (product.epilogue, product.bias) {
        (Epilogue::None, None) => CUBLASLT_EPILOGUE_DEFAULT,
        (Epilogue::None, Some(_)) => CUBLASLT_EPILOGUE_BIAS,
        (Epilogue::Relu, None) => CUBLASLT_EPILOGUE_RELU,
        (Epilogue::Relu, Some(_)) => CUBLASLT_EPILOGUE_RELU_BIAS,
        (Epilogue::GeluTanh, None) => CUBLASLT_EPILOGUE_GELU,
        (Epilogue::GeluTanh, Some(_)) => CUBLASLT_EPILOGUE_GELU_BIAS,
    };
    operation.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue as u32)?;
    if let Some((_, stride)) = product.bias {
        // Algorithms are chosen for the alignment of this address; nothing is read there.
        operation.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, u64::from(ALIGNMENT))?;
        if product.batch > 1 {
            operation.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, stride as i64)?;
        }
    }
    Ok(operation)
}

/// What is asked of algorithms.
fn preference(library: &'static Library, capability: (i32, i32)) -> Result<Preference> {
    let mut preference = Preference::new(library)?;
    // What NVIDIA advises for cuBLAS: its fastest algorithms on Hopper need that much.
    let workspace = if capability >= (9, 0) { 32 << 20 } else { 4 << 20 };
    preference.set(Wish::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace as u64)?;
    preference.set(
        Wish::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        Reduction::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32,
    )?;
    for operand in [
        Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        Wish::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
    ] {
        preference.set(operand, ALIGNMENT)?;
    }
    Ok(preference)
}

/// The numbers that tell algorithms apart.
fn config(library: &Library, algo: &cublasLtMatmulAlgo_t) -> Result<Config> {
    use Setting::*;
    let settings: [(Setting, usize); CONFIG] = [
        (CUBLASLT_ALGO_CONFIG_ID, 4),
        (CUBLASLT_ALGO_CONFIG_TILE_ID, 4),
        (CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 4),
        (CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, 4),
        (CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, 4),
        (CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, 4),
        (CUBLASLT_ALGO_CONFIG_STAGES_ID, 4),
        (CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, 2),
        (CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, 2),
    ];
    let mut config = [0u32; CONFIG];
    for ((setting, size), value) in settings.into_iter().zip(&mut config) {
        let (get, mut written) = (library.functions.cublasLtMatmulAlgoConfigGetAttribute, 0);
        // SAFETY: an algorithm of the library; `size` bytes are written at most, the lower ones of the number.
        let code = unsafe { get(algo, setting, (value as *mut u32).cast(), size, &mut written) };
        library.check(code, "cublasLtMatmulAlgoConfigGetAttribute")?;
    }
    Ok(config)
}

/// Whether an algorithm sums in an order that does not depend on which thread is first: a depth that is not cut is summed by one
/// thread after another's tile, and slices of it that are kept in the workspace, in f32, are added by a second kernel in their
/// order. Slices that are added where the result lies, or in its type, are left out: they are rounded on the way, and take turns.
/// All else in the library gives the same bits on the same GPU, as its documentation says, if each stream has its own workspace.
fn is_deterministic(config: &Config) -> bool {
    let [_, _, slices, reduction, ..] = *config;
    let kept = Reduction::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
    let unused = Reduction::CUBLASLT_REDUCTION_SCHEME_NONE as u32;
    reduction == kept || reduction == unused || slices == 1
}

/// How an algorithm is implemented.
fn implementation(library: &Library, algo: &cublasLtMatmulAlgo_t) -> Result<u64> {
    let (mut flags, mut written) = (0u64, 0);
    let get = library.functions.cublasLtMatmulAlgoCapGetAttribute;
    let which = Capability::CUBLASLT_ALGO_CAP_NUMERICAL_IMPL_FLAGS;
    // SAFETY: an algorithm of the library; the attribute is a 64-bit number.
    let code = unsafe { get(algo, which, (&raw mut flags).cast(), size_of::<u64>(), &mut written) };
    library.check(code, "cublasLtMatmulAlgoCapGetAttribute")?;
    Ok(flags)
}

impl Kernel for Algorithm {
    fn workspace_bytes(&self) -> usize {
        self.sums + self.workspace
    }

    fn enqueue(&self, stream: &Stream, args: &Args<'_>) -> Result<()> {
        let Descriptors { operation, a, b, c, d } = &*self.descriptors;
        let product = &*self.product;
        let at = |input: usize| args.inputs[input].0 as *const std::ffi::c_void;
        let y = match product.y {
            Target::Output { .. } => args.outputs[0],
            Target::Sums => args.workspace,
        };
        let Address(workspace) = if self.workspace > 0 { args.workspace.offset(self.sums) } else { Address::default() };
        let (alpha, beta) = (product.alpha, if product.residual.is_some() { 1.0f32 } else { 0.0 });
        // What is not added is not read.
        let residual = product.residual.map_or(y.0 as *const _, |c| at(c.input));
        let blas = self.device.blas().map_err(|reason| Error::internal(reason.to_string()))?;
        let _entered = self.device.enter()?;
        // Held until the library has read the address of the bias.
        let mut operation = operation.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((input, _)) = product.bias {
            operation.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, args.inputs[input].0)?;
        }
        // SAFETY: live descriptors and a stream of the handle's context; the plan gives each operand memory of its shape's size
        // that is valid until the stream has come past the product, and the factors are copied by the call.
        let code = unsafe {
            (blas.library.functions.cublasLtMatmul)(
                blas.handle,
                operation.handle,
                (&raw const alpha).cast(),
                at(product.b.input),
                a.handle,
                at(product.a.input),
                b.handle,
                (&raw const beta).cast(),
                residual,
                c.handle,
                y.0 as *mut _,
                d.handle,
                &self.algo,
                workspace as *mut _,
                self.workspace,
                stream.handle.cast(),
            )
        };
        blas.library.check(code, "cublasLtMatmul")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(dtype: DType, tf32: bool) -> Product {
        let x = Matrix { input: 0, transposed: false, ld: 4, stride: 16 };
        let y = Target::Output { ld: 4, stride: 16 };
        let (residual, bias, epilogue) = (None, None, Epilogue::None);
        Product { dtype, tf32, m: 4, n: 4, k: 4, batch: 1, a: x, b: x, residual, bias, y, alpha: 1.0, epilogue }
    }

    #[test]
    fn factors_are_rounded_only_where_that_is_allowed() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            assert_eq!(product(dtype, false).compute(), Compute::CUBLAS_COMPUTE_32F);
            assert!(!product(dtype, false).allows(FACTOR_TF32 | ACCUMULATOR_32F));
        }
        assert_eq!(product(DType::F32, true).compute(), Compute::CUBLAS_COMPUTE_32F_FAST_TF32);
        assert_eq!(product(DType::F16, true).compute(), Compute::CUBLAS_COMPUTE_32F);
        assert!(product(DType::F32, true).allows(FACTOR_TF32 | ACCUMULATOR_32F | 2));
        assert!(product(DType::F32, false).allows(FACTOR_32F | ACCUMULATOR_32F | 1));
        assert!(!product(DType::F32, false).allows(FACTOR_16BF | ACCUMULATOR_32F));
        assert!(!product(DType::F16, false).allows(FACTOR_16F | 1 << 8));
    }

    #[test]
    fn sums_are_formed_in_one_order() {
        let config = |slices, reduction| [1, 2, slices, reduction, 0, 0, 0, 0, 0];
        assert!(is_deterministic(&config(1, 0)) && is_deterministic(&config(4, 2)));
        assert!(!is_deterministic(&config(4, 1)) && !is_deterministic(&config(4, 4)));
    }

    #[test]
    fn distances_of_a_single_product_do_not_tell_it_apart() {
        let one = product(DType::F32, false);
        let other = Product { a: Matrix { stride: 99, ..one.a }, ..one.clone() };
        assert_eq!(one.key(), other.key());
        let several = [Product { batch: 2, ..one.clone() }, Product { batch: 2, ..other }];
        assert_ne!(several[0].key(), several[1].key());
        assert!(!one.key().contains(['\t', '\n']));
    }
}
