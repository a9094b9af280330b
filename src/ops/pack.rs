//! Weights in the layouts that kernels read: which one an operator wants, and the conversion. Packing is the last thing
//! that happens to a model when it is converted.

use super::{Op, Tensor, TensorInfo, conv};
use crate::error::{Error, Result};
use crate::tensor::{Blob, Buffer, DType, Element, Layout, PANEL, View};
use half::{bf16, f16};

/// Columns below which a panel would mostly be padding.
const LEAST_COLUMNS: usize = 8;

impl Op {
    /// The layout in which the operator reads a constant as input `index` without copying it on every run: row-major
    /// for all but the weights of products, convolutions and recurrent layers. A product's B must not be transposed.
    pub fn constant_layout(&self, index: usize, info: &TensorInfo) -> Layout {
        let packs = matches!(info.dtype, DType::F32 | DType::F16 | DType::BF16);
        match (self, index, &info.dims[..]) {
            (Op::MatMul(op), 1, [.., _, n]) if packs && !op.transpose_b && *n >= LEAST_COLUMNS => Layout::Panels,
            (Op::Conv(op), 1, [out_channels, .., group_in]) if packs && op.groups > 0 => {
                conv::layout(op.groups as usize, *group_in, out_channels / op.groups as usize)
            }
            (Op::Recurrent(_), 1 | 2, [_, _, _]) if packs => Layout::Panels,
            _ => Layout::RowMajor,
        }
    }
}

/// The elements of a row-major tensor in another layout. An error if the layout does not fit the tensor.
pub fn pack(tensor: &Tensor, layout: Layout) -> Result<Blob> {
    match tensor.info.dtype {
        DType::F32 => pack_elements::<f32>(tensor, layout),
        DType::F16 => pack_elements::<f16>(tensor, layout),
        DType::BF16 => pack_elements::<bf16>(tensor, layout),
        dtype => Err(Error::dtype(format!("{dtype} tensors are not packed"))),
    }
}

/// The tensor whose elements [`pack`] has arranged as `packed`. An error if the sizes do not fit.
pub fn unpack(info: TensorInfo, layout: Layout, packed: &Blob) -> Result<Tensor> {
    match info.dtype {
        DType::F32 => unpack_elements::<f32>(info, layout, packed),
        DType::F16 => unpack_elements::<f16>(info, layout, packed),
        DType::BF16 => unpack_elements::<bf16>(info, layout, packed),
        dtype => Err(Error::dtype(format!("{dtype} tensors are not packed"))),
    }
}

fn pack_elements<T: Element>(tensor: &Tensor, layout: Layout) -> Result<Blob> {
    let (panels, len) = Panels::of(&tensor.info, layout)?;
    let (from, mut to) = (tensor.elements::<T>(), vec![T::default(); len]);
    panels.each(|packed, plain| to[packed] = from[plain]);
    Ok(Blob::new(Buffer::from_elements(&to)?))
}

fn unpack_elements<T: Element>(info: TensorInfo, layout: Layout, packed: &Blob) -> Result<Tensor> {
    let (panels, len) = Panels::of(&info, layout)?;
    if packed.len() != len * size_of::<T>() || packed.as_ptr().align_offset(size_of::<T>()) != 0 {
        return Err(Error::format(format!("{} bytes of {layout:?} for shape {:?}", packed.len(), info.dims)));
    }
    let (from, mut to) = (View::new(packed, info.dtype).slice::<T>(), vec![T::default(); info.numel()]);
    panels.each(|packed, plain| to[plain] = from[packed]);
    Tensor::new(&info.dims, &to)
}

/// Matrices of `k` rows and `n` columns, each stored as panels of [`PANEL`] columns.
struct Panels {
    count: usize,
    k: usize,
    n: usize,
    /// Distances between neighbours in the row-major tensor.
    k_stride: usize,
    n_stride: usize,
}

impl Panels {
    /// The matrices of a tensor in this layout, and the elements that they occupy.
    fn of(info: &TensorInfo, layout: Layout) -> Result<(Self, usize)> {
        let refused = || Error::shape(format!("a tensor of shape {:?} cannot be stored as {layout:?}", info.dims));
        let len = layout.byte_len(info.dtype, &info.dims).ok_or_else(refused)? / info.dtype.size();
        let taps = |groups: usize| {
            let (out_channels, k) = (info.dims[0], info.dims[1..].iter().product());
            Panels { count: groups, k, n: out_channels / groups, k_stride: 1, n_stride: k }
        };
        let panels = match (layout, &info.dims[..]) {
            (Layout::Panels, [batch @ .., k, n]) => {
                Panels { count: batch.iter().product(), k: *k, n: *n, k_stride: *n, n_stride: 1 }
            }
            (Layout::ConvPanels { groups }, _) => taps(groups as usize),
            (Layout::Depthwise, _) => taps(1),
            _ => return Err(refused()),
        };
        Ok((panels, len))
    }

    /// Calls `f` with the packed and the row-major position of every element.
    fn each(&self, mut f: impl FnMut(usize, usize)) {
        let Panels { count, k, n, k_stride, n_stride } = *self;
        let stored = n.next_multiple_of(PANEL) * k;
        for matrix in 0..count {
            for column in 0..n {
                let first = matrix * stored + column / PANEL * PANEL * k + column % PANEL;
                for row in 0..k {
                    f(first + row * PANEL, matrix * n * k + row * k_stride + column * n_stride);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::conv::WeightLayout;
    use crate::cpu::gemm::{Matrix, pack as pack_matrix, packed_len, panels};
    use crate::ops::testing::Random;
    use crate::ops::{Conv, MatMul};
    use crate::tensor::Dims;

    #[test]
    fn products_get_what_their_driver_reads() {
        let b = Random::new(1).tensor(&[7, 37]);
        let layout = Op::from(MatMul::default()).constant_layout(1, &b.info);
        assert_eq!(layout, Layout::Panels);
        let mut want = vec![0.0; packed_len(37, 7).unwrap()];
        pack_matrix(&Matrix::row_major(b.elements(), 7, 37), 0..panels(37), &mut want);
        let packed = pack(&b, layout).unwrap();
        assert_eq!(packed, Tensor::new(&[want.len()], &want).unwrap().data);
        assert_eq!(unpack(b.info, layout, &packed).unwrap(), b);
        let transposed = MatMul { transpose_b: true, ..MatMul::default() };
        assert_eq!(Op::from(transposed).constant_layout(1, &b.info), Layout::RowMajor);
    }

    #[test]
    fn convolutions_get_what_their_plan_reads() {
        for (groups, group_in, group_out) in [(1, 3, 20), (2, 16, 24), (40, 1, 1), (6, 4, 4)] {
            let w = Random::new(2).tensor(&[groups * group_out, 3, 2, group_in]);
            let layout = Op::from(Conv { groups: groups as u32, ..Conv::default() }).constant_layout(1, &w.info);
            let (arrangement, k) = (WeightLayout::of(groups, group_in, group_out), 6 * group_in);
            let mut want = vec![0.0; arrangement.len(groups, groups * group_out, k).unwrap()];
            arrangement.pack(w.elements(), groups, k, &mut want);
            let packed = pack(&w, layout).unwrap();
            assert_eq!(packed, Tensor::new(&[want.len()], &want).unwrap().data, "{layout:?}");
            assert_eq!(unpack(w.info, layout, &packed).unwrap(), w);
        }
    }

    #[test]
    fn halves_are_packed_alike() {
        let w = Random::new(3).tensor_of(&[3, 5, 18], |r| f16::from_f32(r.range(-1.0, 1.0)));
        let packed = pack(&w, Layout::Panels).unwrap();
        assert_eq!(packed.len(), 3 * 5 * 32 * 2);
        assert_eq!(unpack(w.info, Layout::Panels, &packed).unwrap(), w);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let vector = Random::new(4).tensor(&[5]);
        assert!(pack(&vector, Layout::Panels).is_err());
        assert!(pack(&vector, Layout::ConvPanels { groups: 2 }).is_err());
        let info = TensorInfo { dtype: DType::F32, dims: Dims::new(&[4, 16]) };
        assert!(unpack(info, Layout::Panels, &vector.data).is_err());
        assert!(pack(&Random::new(4).tensor_of(&[4, 4], |_| 1i32), Layout::Panels).is_err());
    }
}
