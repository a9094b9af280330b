//! Descriptors of cuBLASLt: of a product, of a matrix, of what is asked of an algorithm.

use super::library::Library;
use crate::cuda::Scalar;
use crate::error::Result;
use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, cublasLtMatmulPreference_t,
    cublasLtMatmulPreferenceAttributes_t, cublasLtMatrixLayout_t, cublasLtMatrixLayoutAttribute_t, cudaDataType,
};

macro_rules! descriptor {
    ($(#[$about:meta])* $name:ident, $handle:ty, $attribute:ty, $set:ident, $destroy:ident) => {
        $(#[$about])*
        pub struct $name {
            library: &'static Library,
            pub handle: $handle,
        }

        // SAFETY: plain memory with one owner.
        unsafe impl Send for $name {}
        // SAFETY: a shared one is only read.
        unsafe impl Sync for $name {}

        impl $name {
            /// Sets an attribute, which must be of the documented type.
            pub fn set<T: Scalar>(&mut self, attribute: $attribute, value: T) -> Result<()> {
                let (set, value) = (self.library.functions.$set, (&raw const value).cast());
                // SAFETY: a live descriptor; the library checks the size of the value, and copies it.
                let code = unsafe { set(self.handle, attribute, value, size_of::<T>()) };
                self.library.check(code, stringify!($set))
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: created by us, and not used again.
                unsafe { (self.library.functions.$destroy)(self.handle) };
            }
        }
    };
}

descriptor! {
    /// What is computed: `cublasLtMatmulDesc_t`.
    Operation, cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, cublasLtMatmulDescSetAttribute,
    cublasLtMatmulDescDestroy
}

descriptor! {
    /// A batch of matrices: `cublasLtMatrixLayout_t`.
    Layout, cublasLtMatrixLayout_t, cublasLtMatrixLayoutAttribute_t, cublasLtMatrixLayoutSetAttribute,
    cublasLtMatrixLayoutDestroy
}

descriptor! {
    /// What is asked of algorithms: `cublasLtMatmulPreference_t`.
    Preference, cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t,
    cublasLtMatmulPreferenceSetAttribute, cublasLtMatmulPreferenceDestroy
}

impl Operation {
    /// A product that computes so, with f32 factors.
    pub fn new(library: &'static Library, compute: cublasComputeType_t) -> Result<Operation> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: `handle` is written if the call succeeds.
        let code =
            unsafe { (library.functions.cublasLtMatmulDescCreate)(&mut handle, compute, cudaDataType::CUDA_R_32F) };
        library.check(code, "cublasLtMatmulDescCreate")?;
        Ok(Operation { library, handle })
    }
}

impl Layout {
    /// Matrices stored column by column, `ld` elements apart, and `stride` elements from one to the next.
    pub fn new(
        library: &'static Library,
        dtype: cudaDataType,
        (rows, cols): (usize, usize),
        ld: usize,
        (count, stride): (usize, usize),
    ) -> Result<Layout> {
        use cublasLtMatrixLayoutAttribute_t::*;
        let mut handle = std::ptr::null_mut();
        let create = library.functions.cublasLtMatrixLayoutCreate;
        // SAFETY: `handle` is written if the call succeeds.
        let code = unsafe { create(&mut handle, dtype, rows as u64, cols as u64, ld as i64) };
        library.check(code, "cublasLtMatrixLayoutCreate")?;
        let mut layout = Layout { library, handle };
        if count > 1 {
            layout.set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count as i32)?;
            layout.set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride as i64)?;
        }
        Ok(layout)
    }
}

impl Preference {
    /// Nothing is asked.
    pub fn new(library: &'static Library) -> Result<Preference> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: `handle` is written if the call succeeds.
        let code = unsafe { (library.functions.cublasLtMatmulPreferenceCreate)(&mut handle) };
        library.check(code, "cublasLtMatmulPreferenceCreate")?;
        Ok(Preference { library, handle })
    }
}
