//! A convolution as cuDNN takes it: tensors, and operations between them.
//!
//! Extents are in the order image, channel, space whatever the order in memory, which their distances tell. Groups are nowhere:
//! weights with fewer channels than the input say how many there are.

use super::descriptors::Descriptor;
use super::library::Library;
use crate::error::{Error, Result};
use crate::tensor::DType;
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t::*, cudnnBackendDescriptorType_t::*, cudnnConvolutionMode_t, cudnnDataType_t,
    cudnnHandle_t, cudnnNanPropagation_t, cudnnPointwiseMode_t as Mode,
};

/// What an address of an operand is at least a multiple of, and of no more that is known.
const ALIGNMENT: i64 = 16;

/// `function(x * w + residual + bias)`, channels last: x `[batch, input.., in_channels]`, w `[out_channels, kernel..,
/// in_channels / groups]`, bias `[out_channels]`, y and residual `[batch, output.., out_channels]`.
#[derive(Clone, Debug)]
pub struct Convolution {
    /// Of all operands: f32, f16 or bf16. Sums are f32.
    pub dtype: DType,
    /// Whether factors that are f32 may be rounded to TF32.
    pub tf32: bool,
    #[allow(missing_docs, reason = "it says all")]
    pub batch: usize,
    /// Channels of all groups.
    pub in_channels: usize,
    #[allow(missing_docs, reason = "as above")]
    pub out_channels: usize,
    #[allow(missing_docs, reason = "it says all")]
    pub groups: usize,
    /// Extents in space, outermost first; 1 where there are fewer than three.
    pub input: [usize; 3],
    #[allow(missing_docs, reason = "as above")]
    pub output: [usize; 3],
    #[allow(missing_docs, reason = "as above")]
    pub kernel: [usize; 3],
    #[allow(missing_docs, reason = "it says all")]
    pub stride: [usize; 3],
    #[allow(missing_docs, reason = "it says all")]
    pub dilation: [usize; 3],
    /// Zeros in front of the input, and after it.
    pub pad_begin: [usize; 3],
    #[allow(missing_docs, reason = "as above")]
    pub pad_end: [usize; 3],
    /// The input is `[batch, in_channels, input..]`.
    pub channels_first: bool,
    /// Whether input 2 is a bias.
    pub bias: bool,
    /// Whether input 3 is a residual.
    pub residual: bool,
    /// What ends it; None if the library has no such function, and is asked for the sums alone.
    pub function: Option<Function>,
}

/// A function that ends a convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    #[allow(missing_docs, reason = "it says all")]
    Identity,
    /// max(x, 0). What becomes of a NaN is the engine's affair, here and below.
    Relu,
    /// min(max(x, low), high).
    Clip(f32, f32),
    /// x where it is positive, otherwise so many times x.
    LeakyRelu(f32),
    /// x where it is positive, otherwise so many times e^x - 1.
    Elu(f32),
    #[allow(missing_docs, reason = "it says all")]
    Sigmoid,
    #[allow(missing_docs, reason = "it says all")]
    Tanh,
    /// x · sigmoid(x).
    Swish,
    /// By the error function.
    Gelu,
    /// By the hyperbolic tangent.
    GeluTanh,
    /// ln(1 + e^x).
    Softplus,
}

/// What a convolution reads and writes: the numbers by which the library knows them.
pub const X: i64 = 1;
pub const W: i64 = 2;
pub const BIAS: i64 = 3;
pub const RESIDUAL: i64 = 4;
pub const Y: i64 = 5;

/// The number of the first result that is nowhere in memory.
const VIRTUAL: i64 = 16;

/// A graph of operations, and the descriptors that it refers to.
pub struct Graph {
    pub descriptor: Descriptor,
    _parts: Vec<Descriptor>,
}

/// Extents and distances of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Form {
    dims: Vec<i64>,
    strides: Vec<i64>,
}

impl Form {
    fn new(outer: usize, channels: usize, space: &[usize], channels_first: bool) -> Form {
        let plane: usize = space.iter().product();
        let (channel, mut distance) = if channels_first { (plane, 1) } else { (1, channels) };
        let mut strides = vec![];
        for &extent in space.iter().rev() {
            strides.push(distance as i64);
            distance *= extent;
        }
        strides.extend([channel as i64, (channels * plane) as i64]);
        strides.reverse();
        let dims = [outer, channels].iter().chain(space).map(|&n| n as i64).collect();
        Form { dims, strides }
    }
}

impl Convolution {
    /// What engines are chosen for.
    pub fn key(&self) -> String {
        let Convolution { dtype, tf32, batch, in_channels, out_channels, groups, bias, residual, .. } = self;
        let list = |name: &str, numbers: &[usize]| {
            let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
            format!(" {name}:{}", numbers.join("x"))
        };
        let mut key = format!("{dtype}{} conv {batch}", if *tf32 { " tf32" } else { "" });
        key += &list("x", &[&self.input[..], &[*in_channels]].concat());
        key += &list("w", &[&[*out_channels], &self.kernel[..], &[in_channels / groups]].concat());
        key += &list("stride", &self.stride);
        key += &list("dilation", &self.dilation);
        key += &list("pad", &[self.pad_begin, self.pad_end].concat());
        for (name, is) in [("first", self.channels_first), ("bias", *bias), ("residual", *residual)] {
            key += &if is { format!(" {name}") } else { String::new() };
        }
        key + &format!(" {:?}", self.function)
    }

    /// Bytes of the sums.
    pub fn bytes_of_sums(&self) -> usize {
        self.batch * self.output.iter().product::<usize>() * self.out_channels * size_of::<f32>()
    }

    /// The graph of all that is asked for, or of the sums alone, as f32.
    pub fn graph(&self, library: &'static Library, handle: cudnnHandle_t, whole: bool) -> Result<Graph> {
        let mut builder = Builder { library, parts: vec![], operations: vec![], virtuals: VIRTUAL };
        let space = self.first_dimension()..3;
        let x = Form::new(self.batch, self.in_channels, &self.input[space.clone()], self.channels_first);
        let w = Form::new(self.out_channels, self.in_channels / self.groups, &self.kernel[space.clone()], false);
        let y = Form::new(self.batch, self.out_channels, &self.output[space.clone()], false);
        let bias = Form::new(1, self.out_channels, &[1, 1, 1][space], false);
        let dtype = data_type(self.dtype)?;
        let (x, w) = (builder.tensor(X, dtype, &x)?, builder.tensor(W, dtype, &w)?);
        let function = match (whole, self.function) {
            (false, _) => Function::Identity,
            (true, Some(function)) => function,
            (true, None) => return Err(Error::unsupported("cuDNN has no such function")),
        };
        let mut added = vec![];
        // The library's own engines for this pattern know it in this order.
        for (wanted, number, form) in [(self.residual, RESIDUAL, &y), (self.bias, BIAS, &bias)] {
            if whole && wanted {
                added.push(builder.tensor(number, dtype, form)?);
            }
        }
        let last = added.len() + usize::from(function != Function::Identity);
        let end = if whole { dtype } else { cudnnDataType_t::CUDNN_DATA_FLOAT };
        let result = |builder: &mut Builder, at| match at == last {
            true => builder.tensor(Y, end, &y),
            false => builder.between(&y),
        };
        let mut sum = result(&mut builder, 0)?;
        builder.convolution(self, x, w, sum)?;
        for (at, operand) in added.into_iter().enumerate() {
            let next = result(&mut builder, at + 1)?;
            let add = pointwise(library, Mode::CUDNN_POINTWISE_ADD)?;
            builder.pointwise(add, sum, Some(operand), next)?;
            sum = next;
        }
        if function != Function::Identity {
            let next = result(&mut builder, last)?;
            builder.pointwise(function.descriptor(library)?, sum, None, next)?;
        }
        builder.graph(handle)
    }

    /// The first dimension of space that counts. The library has no convolutions of one dimension.
    fn first_dimension(&self) -> usize {
        let trivial = self.input[0] == 1 && self.kernel[0] == 1 && self.pad_begin[0] == 0 && self.pad_end[0] == 0;
        usize::from(trivial)
    }
}

fn data_type(dtype: DType) -> Result<cudnnDataType_t> {
    match dtype {
        DType::F32 => Ok(cudnnDataType_t::CUDNN_DATA_FLOAT),
        DType::F16 => Ok(cudnnDataType_t::CUDNN_DATA_HALF),
        DType::BF16 => Ok(cudnnDataType_t::CUDNN_DATA_BFLOAT16),
        dtype => Err(Error::internal(format!("a convolution of {dtype} by cuDNN"))),
    }
}

/// An operation on single elements, computed in f32; attributes may follow.
fn pointwise(library: &'static Library, mode: Mode) -> Result<Descriptor> {
    Descriptor::new(library, CUDNN_BACKEND_POINTWISE_DESCRIPTOR)?
        .with(CUDNN_ATTR_POINTWISE_MODE, mode)?
        .with(CUDNN_ATTR_POINTWISE_MATH_PREC, cudnnDataType_t::CUDNN_DATA_FLOAT)
}

impl Function {
    fn descriptor(self, library: &'static Library) -> Result<Descriptor> {
        let of = |mode| pointwise(library, mode);
        let relu = || {
            let keep = cudnnNanPropagation_t::CUDNN_NOT_PROPAGATE_NAN;
            of(Mode::CUDNN_POINTWISE_RELU_FWD)?.with(CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, keep)
        };
        match self {
            Function::Identity => of(Mode::CUDNN_POINTWISE_IDENTITY),
            Function::Relu => relu(),
            Function::Clip(low, high) => relu()?
                .with(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, f64::from(low))?
                .with(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, f64::from(high)),
            Function::LeakyRelu(slope) => relu()?.with(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, f64::from(slope)),
            Function::Elu(alpha) => {
                of(Mode::CUDNN_POINTWISE_ELU_FWD)?.with(CUDNN_ATTR_POINTWISE_ELU_ALPHA, f64::from(alpha))
            }
            Function::Sigmoid => of(Mode::CUDNN_POINTWISE_SIGMOID_FWD),
            Function::Tanh => of(Mode::CUDNN_POINTWISE_TANH_FWD),
            Function::Swish => of(Mode::CUDNN_POINTWISE_SWISH_FWD),
            Function::Gelu => of(Mode::CUDNN_POINTWISE_GELU_FWD),
            Function::GeluTanh => of(Mode::CUDNN_POINTWISE_GELU_APPROX_TANH_FWD),
            Function::Softplus => of(Mode::CUDNN_POINTWISE_SOFTPLUS_FWD),
        }
    }
}

/// What a graph is made of; parts are known by their places.
struct Builder {
    library: &'static Library,
    parts: Vec<Descriptor>,
    operations: Vec<usize>,
    /// The number of the next tensor that is nowhere in memory.
    virtuals: i64,
}

impl Builder {
    fn keep(&mut self, part: Descriptor) -> usize {
        self.parts.push(part);
        self.parts.len() - 1
    }

    fn tensor(&mut self, number: i64, dtype: cudnnDataType_t, form: &Form) -> Result<usize> {
        let tensor = self.unfinished(number, dtype, form)?.finalize("describing a tensor")?;
        Ok(self.keep(tensor))
    }

    /// A result in f32 that only the next operation sees.
    fn between(&mut self, form: &Form) -> Result<usize> {
        let tensor = self.unfinished(self.virtuals, cudnnDataType_t::CUDNN_DATA_FLOAT, form)?;
        let tensor = tensor.with(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true)?.finalize("describing an intermediate result")?;
        self.virtuals += 1;
        Ok(self.keep(tensor))
    }

    fn unfinished(&self, number: i64, dtype: cudnnDataType_t, form: &Form) -> Result<Descriptor> {
        Descriptor::new(self.library, CUDNN_BACKEND_TENSOR_DESCRIPTOR)?
            .with(CUDNN_ATTR_TENSOR_DATA_TYPE, dtype)?
            .with_all(CUDNN_ATTR_TENSOR_DIMENSIONS, &form.dims)?
            .with_all(CUDNN_ATTR_TENSOR_STRIDES, &form.strides)?
            .with(CUDNN_ATTR_TENSOR_UNIQUE_ID, number)?
            .with(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, ALIGNMENT)
    }

    fn convolution(&mut self, c: &Convolution, x: usize, w: usize, y: usize) -> Result<()> {
        let first = c.first_dimension();
        let list = |numbers: [usize; 3]| numbers[first..].iter().map(|&n| n as i64).collect::<Vec<_>>();
        let window = Descriptor::new(self.library, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?
            .with(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, cudnnDataType_t::CUDNN_DATA_FLOAT)?
            .with(CUDNN_ATTR_CONVOLUTION_CONV_MODE, cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION)?
            .with(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, (3 - first) as i64)?
            .with_all(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, &list(c.pad_begin))?
            .with_all(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, &list(c.pad_end))?
            .with_all(CUDNN_ATTR_CONVOLUTION_DILATIONS, &list(c.dilation))?
            .with_all(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, &list(c.stride))?
            .finalize("describing a window")?;
        let kind = CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
        let operation = Descriptor::new(self.library, kind)?
            .with_part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, &self.parts[x])?
            .with_part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, &self.parts[w])?
            .with_part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, &self.parts[y])?
            .with_part(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, &window)?
            .with(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1f32)?
            .with(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0f32)?
            .finalize("describing a convolution")?;
        self.keep(window);
        let operation = self.keep(operation);
        self.operations.push(operation);
        Ok(())
    }

    fn pointwise(&mut self, mode: Descriptor, x: usize, operand: Option<usize>, y: usize) -> Result<()> {
        let mode = mode.finalize("describing a function")?;
        let mut operation = Descriptor::new(self.library, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)?
            .with_part(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, &mode)?
            .with_part(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, &self.parts[x])?
            .with_part(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &self.parts[y])?
            .with(CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, 1f32)?
            .with(CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, 1f32)?;
        if let Some(operand) = operand {
            operation = operation.with_part(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, &self.parts[operand])?;
        }
        let operation = operation.finalize("describing an operation")?;
        self.keep(mode);
        let operation = self.keep(operation);
        self.operations.push(operation);
        Ok(())
    }

    fn graph(self, handle: cudnnHandle_t) -> Result<Graph> {
        let operations = self.operations.iter().map(|&at| &self.parts[at]);
        let descriptor = Descriptor::new(self.library, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?
            .with_parts(CUDNN_ATTR_OPERATIONGRAPH_OPS, operations)?
            .with(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle)?
            .finalize("checking the graph")?;
        Ok(Graph { descriptor, _parts: self.parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_tell_the_order_in_memory() {
        let form = |first| Form::new(2, 3, &[4, 5], first);
        assert_eq!(form(false), Form { dims: vec![2, 3, 4, 5], strides: vec![60, 1, 15, 3] });
        assert_eq!(form(true), Form { dims: vec![2, 3, 4, 5], strides: vec![60, 20, 5, 1] });
        assert_eq!(Form::new(1, 7, &[1, 1], false), Form { dims: vec![1, 7, 1, 1], strides: vec![7, 1, 7, 7] });
    }

    #[test]
    fn keys_tell_convolutions_apart() {
        let one = Convolution {
            dtype: DType::F32,
            tf32: false,
            batch: 2,
            in_channels: 3,
            out_channels: 4,
            groups: 1,
            input: [1, 5, 6],
            output: [1, 3, 4],
            kernel: [1, 3, 3],
            stride: [1; 3],
            dilation: [1; 3],
            pad_begin: [0; 3],
            pad_end: [0; 3],
            channels_first: false,
            bias: false,
            residual: false,
            function: Some(Function::Clip(0.0, 6.0)),
        };
        let others = [
            Convolution { tf32: true, ..one.clone() },
            Convolution { pad_end: [0, 0, 1], ..one.clone() },
            Convolution { pad_begin: [0, 0, 1], ..one.clone() },
            Convolution { channels_first: true, ..one.clone() },
            Convolution { bias: true, ..one.clone() },
            Convolution { function: Some(Function::Clip(0.0, 6.5)), ..one.clone() },
            Convolution { function: None, ..one.clone() },
        ];
        let mut keys: Vec<String> = others.iter().chain([&one]).map(Convolution::key).collect();
        assert!(keys.iter().all(|key| !key.contains(['\t', '\n'])));
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), others.len() + 1);
    }
}
