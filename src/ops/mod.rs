//! The operators: one list, one folder per family. A family's `mod.rs` holds its attributes, mathematics and shape
//! rule, `cpu.rs` its CPU kernels, `tests.rs` its plain reference and cases.

pub mod activation;
pub mod arith;
mod centered;
mod context;
#[cfg(feature = "cuda")]
pub mod cuda;
mod derived;
mod elementwise;
mod evaluate;
mod index;
mod order;
#[cfg(feature = "write")]
pub mod pack;
mod sample;
mod scatter;
#[cfg(feature = "cuda")]
mod scatter_cuda;
mod strided;
#[cfg(feature = "cuda")]
mod strided_cuda;
#[cfg(test)]
pub mod testing;
#[cfg(all(test, feature = "cuda"))]
pub(crate) mod testing_cuda;
mod walk;
pub mod widen;
pub mod window;

pub use context::{Inputs, Operand, Prepare, Tensor, TensorInfo};
#[cfg(feature = "cuda")]
pub use cuda::{CudaKernel, PrepareCuda};
pub use derived::Derived;
pub use evaluate::{evaluate, execute};
pub use walk::{Run, Walk};

use crate::error::{Error, Result};
use crate::schema;
use crate::tensor::{Args, Grid, TensorType};
#[cfg(feature = "write")]
use flatbuffers::{FlatBufferBuilder, WIPOffset};
use std::fmt::Debug;

/// What an operator is.
pub trait OpDef: Clone + PartialEq + Debug + Send + Sync + 'static {
    /// Its attribute table in the schema.
    type Table<'a>;

    /// Name, as the schema spells it.
    const NAME: &'static str;

    /// Smallest and largest number of inputs, counting absent optional ones before the last present one.
    const INPUTS: (usize, usize);

    /// Whether output 0 is input 0 under another shape, byte for byte.
    const IS_VIEW: bool = false;

    /// Attributes from a model file; the file is untrusted, so everything is checked here.
    fn read(table: Self::Table<'_>) -> Result<Self>;

    /// Attributes to a model file.
    #[cfg(feature = "write")]
    fn write<'b>(&self, b: &mut FlatBufferBuilder<'b>) -> WIPOffset<Self::Table<'b>>;

    /// Types of the outputs; all checks of element types, ranks and dimensions are made here. A node may leave trailing
    /// outputs unused. Extents that depend on data are [`Dim::Unknown`](crate::tensor::Dim::Unknown); a caller that
    /// knows more (the values of an input) asks again.
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>>;

    /// The kernel for inputs and outputs of the given (fixed) shapes, which `infer` has accepted.
    fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>>;

    /// The kernel for a GPU, under the same conditions; None if there is none, and the CPU has to do it.
    #[cfg(feature = "cuda")]
    fn prepare_cuda(&self, _cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
        Ok(None)
    }

    /// The version of the operator's meaning that these attributes need: a reader that does not know it refuses the file.
    fn version(&self) -> u16 {
        1
    }

    /// The input of which, if it is a constant, kernels would like to keep a rearranged copy, and the copy's bytes; see
    /// [`Derived`].
    fn derives(&self, _inputs: &Inputs<'_>) -> Option<(usize, usize)> {
        None
    }

    /// Floating-point operations (integer ones where the operands are) of the direct algorithm, a multiplication and an
    /// addition being two; 0 for operators whose time is that of moving memory.
    fn flops(&self, _inputs: &[Option<TensorInfo>], _outputs: &[TensorInfo]) -> u64 {
        0
    }

    /// Runs an operator whose output shapes depend on data, on the caller's thread alone.
    fn run_dynamic(&self, _inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
        Err(Error::shape(format!("the inputs do not tell the shape of what {} computes", Self::NAME)))
    }
}

/// A kernel bound to shapes: straight-line work without allocation or shape logic.
///
/// It runs in phases, one after another; the parts of a phase are independent and may run in any order and on any
/// threads. What is computed for an element does not depend on the part that it is in, so results have the same bits for
/// any number of threads.
pub trait Kernel: Send + Sync {
    /// How each phase cuts its work into parts.
    fn phases(&self) -> Vec<Grid>;

    /// Bytes of workspace common to all phases and parts.
    fn shared_bytes(&self) -> usize {
        0
    }

    /// Bytes of scratch memory for each thread.
    fn scratch_bytes(&self) -> usize {
        0
    }

    /// Makes the kernel write the rows of its only output, along the last dimension, `stride` elements apart, as a part of
    /// a larger tensor; false if it cannot.
    fn set_apart(&mut self, _stride: usize) -> bool {
        false
    }

    /// Makes the kernel read the rows of an input, along the last dimension, `stride` elements apart, as a part of a larger
    /// tensor; false if it cannot.
    fn read_apart(&mut self, _input: usize, _stride: usize) -> bool {
        false
    }

    /// Tells the kernel of a Concat that an input is in its place in the output already.
    fn leave_out(&mut self, _input: usize) {}

    /// Does one part of one phase.
    fn run(&self, phase: usize, args: &mut Args<'_>) -> Result<()>;
}

/// Elements from the first to the last of `rows` rows of so many elements, `stride` elements apart.
pub fn rows_apart(rows: usize, width: usize, stride: usize) -> usize {
    rows.checked_sub(1).map_or(0, |gaps| gaps * stride + width)
}

/// A kernel with a single phase, from its grid and a function; most element-wise and data movement kernels are that.
pub fn kernel<F>(grid: Grid, run: F) -> Box<dyn Kernel>
where
    F: Fn(&mut Args<'_>) -> Result<()> + Send + Sync + 'static,
{
    Box::new(OnePhase { grid, run })
}

struct OnePhase<F> {
    grid: Grid,
    run: F,
}

impl<F: Fn(&mut Args<'_>) -> Result<()> + Send + Sync> Kernel for OnePhase<F> {
    fn phases(&self) -> Vec<Grid> {
        vec![self.grid]
    }

    fn run(&self, _phase: usize, args: &mut Args<'_>) -> Result<()> {
        (self.run)(args)
    }
}

/// The list of operators. Each entry names the schema's table, its accessor on a node, and the Rust type.
macro_rules! ops {
    ($($name:ident ($accessor:ident): $module:ident;)*) => {
        $(pub mod $module;)*
        $(pub use $module::$name;)*

        /// An operator with its attributes.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            $(#[doc = concat!("See [`mod@", stringify!($module), "`].")] $name($name),)*
        }

        impl Op {
            /// The operator of a node of a model file; None if it is not in this list (control flow, newer operators).
            pub fn read(node: &schema::Node<'_>) -> Result<Option<Self>> {
                $(if let Some(table) = node.$accessor() {
                    return Ok(Some(Op::$name(<$name as OpDef>::read(table)?)));
                })*
                Ok(None)
            }

            /// The operator's attributes for a model file.
            #[cfg(feature = "write")]
            pub fn write<'b>(
                &self,
                b: &mut FlatBufferBuilder<'b>,
            ) -> (schema::Attributes, WIPOffset<flatbuffers::UnionWIPOffset>) {
                match self {
                    $(Op::$name(op) => (schema::Attributes::$name, OpDef::write(op, b).as_union_value()),)*
                }
            }

            /// Name, as the schema spells it.
            pub fn name(&self) -> &'static str {
                match self { $(Op::$name(_) => <$name as OpDef>::NAME,)* }
            }

            /// See [`OpDef::version`].
            pub fn version(&self) -> u16 {
                match self { $(Op::$name(op) => OpDef::version(op),)* }
            }

            /// See [`OpDef::IS_VIEW`].
            pub fn is_view(&self) -> bool {
                match self { $(Op::$name(_) => <$name as OpDef>::IS_VIEW,)* }
            }

            /// Types of the outputs, after a check of the number of inputs.
            pub fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<TensorType>> {
                match self {
                    $(Op::$name(op) => {
                        inputs.check_count(<$name as OpDef>::INPUTS)?;
                        OpDef::infer(op, inputs)
                    })*
                }
            }

            /// See [`OpDef::prepare_cpu`].
            pub fn prepare_cpu(&self, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
                match self { $(Op::$name(op) => OpDef::prepare_cpu(op, cx),)* }
            }

            #[cfg(feature = "cuda")]
            fn cuda_kernel(&self, cx: &PrepareCuda<'_>) -> Result<Option<CudaKernel>> {
                match self { $(Op::$name(op) => OpDef::prepare_cuda(op, cx),)* }
            }

            /// See [`OpDef::derives`].
            pub fn derives(&self, inputs: &Inputs<'_>) -> Option<(usize, usize)> {
                match self { $(Op::$name(op) => OpDef::derives(op, inputs),)* }
            }

            /// See [`OpDef::flops`].
            pub fn flops(&self, inputs: &[Option<TensorInfo>], outputs: &[TensorInfo]) -> u64 {
                match self { $(Op::$name(op) => OpDef::flops(op, inputs, outputs),)* }
            }

            /// See [`OpDef::run_dynamic`].
            pub fn run_dynamic(&self, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
                match self { $(Op::$name(op) => OpDef::run_dynamic(op, inputs),)* }
            }
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Op {
                Op::$name(op)
            }
        })*
    };
}

ops! {
    Binary(attributes_as_binary): binary;
    BitCast(attributes_as_bit_cast): bit_cast;
    Cast(attributes_as_cast): cast;
    Where(attributes_as_where): select;
    Cumulative(attributes_as_cumulative): cumulative;
    Quantize(attributes_as_quantize): quantize;
    Dequantize(attributes_as_dequantize): dequantize;
    DynamicQuantize(attributes_as_dynamic_quantize): dynamic_quantize;
    Unary(attributes_as_unary): unary;
    Reshape(attributes_as_reshape): reshape;
    Transpose(attributes_as_transpose): transpose;
    MatMul(attributes_as_mat_mul): matmul;
    Concat(attributes_as_concat): concat;
    Split(attributes_as_split): split;
    Reduce(attributes_as_reduce): reduce;
    Softmax(attributes_as_softmax): softmax;
    Conv(attributes_as_conv): conv;
    Slice(attributes_as_slice): slice;
    Gather(attributes_as_gather): gather;
    Shape(attributes_as_shape): shape;
    Expand(attributes_as_expand): expand;
    Tile(attributes_as_tile): tile;
    Pool(attributes_as_pool): pool;
    Pad(attributes_as_pad): pad;
    GatherElements(attributes_as_gather_elements): gather_elements;
    GatherNd(attributes_as_gather_nd): gather_nd;
    ScatterElements(attributes_as_scatter_elements): scatter_elements;
    ScatterNd(attributes_as_scatter_nd): scatter_nd;
    OneHot(attributes_as_one_hot): one_hot;
    Trilu(attributes_as_trilu): trilu;
    ReverseSequence(attributes_as_reverse_sequence): reverse_sequence;
    TopK(attributes_as_top_k): top_k;
    NonZero(attributes_as_non_zero): non_zero;
    Unique(attributes_as_unique): unique;
    NonMaxSuppression(attributes_as_non_max_suppression): non_max_suppression;
    Range(attributes_as_range): range;
    Resize(attributes_as_resize): resize;
    GridSample(attributes_as_grid_sample): grid_sample;
    RoiAlign(attributes_as_roi_align): roi_align;
    Norm(attributes_as_norm): norm;
    Attention(attributes_as_attention): attention;
    Recurrent(attributes_as_recurrent): recurrent;
    ConvTranspose(attributes_as_conv_transpose): conv_transpose;
    MatMulInteger(attributes_as_mat_mul_integer): matmul_integer;
    ConvInteger(attributes_as_conv_integer): conv_integer;
    Fail(attributes_as_fail): fail;
}
