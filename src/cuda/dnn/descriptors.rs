//! Descriptors of cuDNN's graphs: objects of a kind with attributes, which are complete once they are finalised.

use super::library::Library;
use crate::cuda::Address;
use crate::error::{Error, Result};
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type, cudnnBackendDescriptor_t,
    cudnnBackendDescriptorType_t as Kind, cudnnBackendHeurMode_t, cudnnConvolutionMode_t, cudnnDataType_t,
    cudnnHandle_t, cudnnNanPropagation_t, cudnnPointwiseMode_t,
};

/// A descriptor.
pub struct Descriptor {
    library: &'static Library,
    handle: cudnnBackendDescriptor_t,
}

// SAFETY: memory of the library with one owner.
unsafe impl Send for Descriptor {}
// SAFETY: a shared one is only read.
unsafe impl Sync for Descriptor {}

/// What attributes have as elements.
///
/// # Safety
/// The type is laid out as the library's type of that number.
pub unsafe trait Value: Copy {
    /// The library's number for the type.
    const TYPE: Type;
}

macro_rules! values {
    ($($type:ty: $number:ident,)*) => {
        $(
            // SAFETY: the types are those of the library's headers, or plain numbers of their sizes.
            unsafe impl Value for $type {
                const TYPE: Type = Type::$number;
            }
        )*
    };
}

/// A `cudnnBackendNumericalNote_t`, of which newer libraries know more.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note(pub u32);

/// A `cudnnBackendKnobType_t`, as above.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Knob(pub i32);

values! {
    bool: CUDNN_TYPE_BOOLEAN,
    i64: CUDNN_TYPE_INT64,
    f32: CUDNN_TYPE_FLOAT,
    f64: CUDNN_TYPE_DOUBLE,
    Address: CUDNN_TYPE_VOID_PTR,
    Knob: CUDNN_TYPE_KNOB_TYPE,
    Note: CUDNN_TYPE_NUMERICAL_NOTE,
    cudnnBackendDescriptor_t: CUDNN_TYPE_BACKEND_DESCRIPTOR,
    cudnnBackendHeurMode_t: CUDNN_TYPE_HEUR_MODE,
    cudnnConvolutionMode_t: CUDNN_TYPE_CONVOLUTION_MODE,
    cudnnDataType_t: CUDNN_TYPE_DATA_TYPE,
    cudnnHandle_t: CUDNN_TYPE_HANDLE,
    cudnnNanPropagation_t: CUDNN_TYPE_NAN_PROPOGATION,
    cudnnPointwiseMode_t: CUDNN_TYPE_POINTWISE_MODE,
}

impl Descriptor {
    /// A descriptor without attributes.
    pub fn new(library: &'static Library, kind: Kind) -> Result<Descriptor> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: `handle` is written if the call succeeds.
        let code = unsafe { (library.functions.cudnnBackendCreateDescriptor)(kind, &mut handle) };
        library.check(code, &format!("creating {kind:?}"))?;
        Ok(Descriptor { library, handle })
    }

    /// With an attribute of one element.
    pub fn with<T: Value>(self, name: Name, value: T) -> Result<Descriptor> {
        self.with_all(name, &[value])
    }

    /// With an attribute of several elements.
    pub fn with_all<T: Value>(self, name: Name, values: &[T]) -> Result<Descriptor> {
        let (set, at) = (self.library.functions.cudnnBackendSetAttribute, values.as_ptr().cast());
        // SAFETY: a live descriptor; so many elements of that type are read, and copied.
        let code = unsafe { set(self.handle, name, T::TYPE, values.len() as i64, at) };
        self.library.check(code, &format!("{name:?}"))?;
        Ok(self)
    }

    /// With an attribute that is another descriptor, which has to live as long.
    pub fn with_part(self, name: Name, part: &Descriptor) -> Result<Descriptor> {
        self.with(name, part.handle)
    }

    /// With an attribute that is several descriptors, as above.
    pub fn with_parts<'a>(self, name: Name, parts: impl IntoIterator<Item = &'a Descriptor>) -> Result<Descriptor> {
        let handles: Vec<cudnnBackendDescriptor_t> = parts.into_iter().map(|part| part.handle).collect();
        self.with_all(name, &handles)
    }

    /// Complete.
    pub fn finalize(self, what: &str) -> Result<Descriptor> {
        // SAFETY: a live descriptor.
        let code = unsafe { (self.library.functions.cudnnBackendFinalize)(self.handle) };
        self.library.check(code, what)?;
        Ok(self)
    }

    /// Reads an attribute into `values`, and returns how many elements were written.
    pub fn read<T: Value>(&self, name: Name, values: &mut [T]) -> Result<usize> {
        let (get, at) = (self.library.functions.cudnnBackendGetAttribute, values.as_mut_ptr().cast());
        let mut count = 0;
        // SAFETY: a live descriptor; at most so many elements of that type are written.
        let code = unsafe { get(self.handle, name, T::TYPE, values.len() as i64, &mut count, at) };
        self.library.check(code, &format!("{name:?}"))?;
        Ok(usize::try_from(count).unwrap_or(0).min(values.len()))
    }

    /// An attribute of one element.
    pub fn get<T: Value + Default>(&self, name: Name) -> Result<T> {
        let mut value = [T::default()];
        match self.read(name, &mut value)? {
            0 => Err(Error::internal(format!("{name:?} is not set"))),
            _ => Ok(value[0]),
        }
    }

    /// How many descriptors an attribute has.
    pub fn count(&self, name: Name) -> Result<usize> {
        let (get, mut count) = (self.library.functions.cudnnBackendGetAttribute, 0);
        let kind = Type::CUDNN_TYPE_BACKEND_DESCRIPTOR;
        // SAFETY: a live descriptor; no element is asked for.
        let code = unsafe { get(self.handle, name, kind, 0, &mut count, std::ptr::null_mut()) };
        self.library.check(code, &format!("{name:?}"))?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// At most `most` of the descriptors that an attribute has, which are of that kind.
    pub fn parts(&self, name: Name, kind: Kind, most: usize) -> Result<Vec<Descriptor>> {
        if most == 0 {
            return Ok(vec![]);
        }
        // The library writes into descriptors that exist.
        let parts = (0..most).map(|_| Descriptor::new(self.library, kind));
        let mut parts = parts.collect::<Result<Vec<_>>>()?;
        let mut handles: Vec<cudnnBackendDescriptor_t> = parts.iter().map(|part| part.handle).collect();
        let written = self.read(name, &mut handles)?;
        parts.truncate(written);
        Ok(parts)
    }

    /// The library's name for it.
    pub fn handle(&self) -> cudnnBackendDescriptor_t {
        self.handle
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: created by us, and not used again.
        unsafe { (self.library.functions.cudnnBackendDestroyDescriptor)(self.handle) };
    }
}
