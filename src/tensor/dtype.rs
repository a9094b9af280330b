//! Element types of tensors.

use crate::error::{Error, Result};
use half::{bf16, f16};
use std::fmt;

macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, $size:literal;)*) => {
        /// Element type. The numbers are those of the file format and of the C API's `infer_dtype`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DType { $($(#[$doc])* $variant = $code,)* }

        impl DType {
            /// Every element type.
            pub const ALL: &[DType] = &[$(DType::$variant),*];

            /// Name as it is written in messages and by the command line, e.g. `f32`.
            pub const fn name(self) -> &'static str {
                match self { $(DType::$variant => $name),* }
            }

            /// Bytes per element.
            pub const fn size(self) -> usize {
                match self { $(DType::$variant => $size),* }
            }

            /// The element type with number `code`.
            pub fn from_code(code: u32) -> Result<Self> {
                match code {
                    $($code => Ok(DType::$variant),)*
                    _ => Err(Error::dtype(format!("unknown element type number {code}"))),
                }
            }
        }
    };
}

dtypes! {
    /// IEEE 754 binary32.
    F32 = 1, "f32", 4;
    /// IEEE 754 binary64.
    F64 = 2, "f64", 8;
    /// IEEE 754 binary16.
    F16 = 3, "f16", 2;
    /// bfloat16: the upper half of a binary32.
    BF16 = 4, "bf16", 2;
    /// Signed 8-bit integer.
    I8 = 5, "i8", 1;
    /// Signed 16-bit integer.
    I16 = 6, "i16", 2;
    /// Signed 32-bit integer.
    I32 = 7, "i32", 4;
    /// Signed 64-bit integer.
    I64 = 8, "i64", 8;
    /// Unsigned 8-bit integer.
    U8 = 9, "u8", 1;
    /// Unsigned 16-bit integer.
    U16 = 10, "u16", 2;
    /// Unsigned 32-bit integer.
    U32 = 11, "u32", 4;
    /// Unsigned 64-bit integer.
    U64 = 12, "u64", 8;
    /// One byte, 0 or 1.
    Bool = 13, "bool", 1;
}

impl DType {
    /// f32, f64, f16 or bf16.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
    }

    /// A signed or unsigned integer; not bool.
    pub const fn is_int(self) -> bool {
        !self.is_float() && !matches!(self, DType::Bool)
    }

    /// A type whose values can be negative.
    pub const fn is_signed(self) -> bool {
        self.is_float() || matches!(self, DType::I8 | DType::I16 | DType::I32 | DType::I64)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that represents the elements of one [`DType`].
///
/// Every bit pattern of the representation is a valid value (bool is represented by `u8`), which is what lets a view
/// over bytes be read as elements.
pub trait Element: sealed::Sealed + Copy + Default + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// The element type of `Self`; `u8` stands for both [`DType::U8`] and [`DType::Bool`].
    const DTYPE: DType;

    /// Whether a tensor of `dtype` may be read as `Self`.
    fn represents(dtype: DType) -> bool {
        dtype == Self::DTYPE
    }
}

macro_rules! elements {
    ($($ty:ty => $dtype:ident),*) => {$(
        impl sealed::Sealed for $ty {}
        impl Element for $ty { const DTYPE: DType = DType::$dtype; }
    )*};
}

elements! { f32 => F32, f64 => F64, f16 => F16, bf16 => BF16, i8 => I8, i16 => I16, i32 => I32, i64 => I64, u16 => U16, u32 => U32, u64 => U64 }

impl sealed::Sealed for u8 {}
impl Element for u8 {
    const DTYPE: DType = DType::U8;

    fn represents(dtype: DType) -> bool {
        matches!(dtype, DType::U8 | DType::Bool)
    }
}
