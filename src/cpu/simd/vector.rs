//! How [`Vector`](super::Vector) is implemented by the intrinsics of an instruction set.

/// Implements the trait for a register: its lanes, the intrinsics that do just what a function of the trait does, and
/// expressions for the other functions.
macro_rules! vector {
    (
        $type:ident, $lanes:literal, $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident, $mul:ident,
        mul_add($multiplied:ident, $factor:ident, $addend:ident) $mul_add:expr,
        max($max_of:ident, $max_and:ident) $max:expr,
        min($min_of:ident, $min_and:ident) $min:expr,
        load_first($from:ident, $n:ident) $load_first:expr,
        store_first($self:ident, $to:ident, $m:ident) $store_first:expr,
        permute($this:ident, $index:ident) $permute:expr,
        spread_fours $spread:ident [$($i:literal),*],
        or_larger($smaller:ident, $larger:ident) $or_larger:expr,
        or_nan($value:ident, $other:ident) $or_nan:expr,
        or_equal($kept:ident, $key:ident, $put:ident) $or_equal:expr $(,)?
    ) => {
        impl Vector for $type {
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(value: f32) -> Self {
                // SAFETY: the trait's promises.
                unsafe { $splat(value) }
            }

            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                // SAFETY: the trait's promises.
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn load_first($from: *const f32, $n: usize) -> Self {
                // SAFETY: the trait's promises.
                unsafe { $load_first }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                // SAFETY: the trait's promises.
                unsafe { $store(to, self) }
            }

            #[inline(always)]
            unsafe fn store_first($self, $to: *mut f32, $m: usize) {
                // SAFETY: the trait's promises.
                unsafe { $store_first }
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: the trait's promises.
                unsafe { $add(self, other) }
            }

            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                // SAFETY: the trait's promises.
                unsafe { $sub(self, other) }
            }

            #[inline(always)]
            unsafe fn mul(self, other: Self) -> Self {
                // SAFETY: the trait's promises.
                unsafe { $mul(self, other) }
            }

            #[inline(always)]
            unsafe fn mul_add($multiplied, $factor: Self, $addend: Self) -> Self {
                // SAFETY: the trait's promises.
                unsafe { $mul_add }
            }

            #[inline(always)]
            unsafe fn max($max_of, $max_and: Self) -> Self {
                // SAFETY: the trait's promises.
                unsafe { $max }
            }

            #[inline(always)]
            unsafe fn min($min_of, $min_and: Self) -> Self {
                // SAFETY: the trait's promises.
                unsafe { $min }
            }

            #[inline(always)]
            unsafe fn permute($this, $index: &[u32]) -> Self {
                debug_assert_eq!($index.len(), $lanes);
                // SAFETY: the trait's promises.
                unsafe { $permute }
            }

            #[inline(always)]
            unsafe fn spread_fours(self) -> [Self; 4] {
                // SAFETY: the trait's promises.
                unsafe { [$($spread::<$i>(self)),*] }
            }

            #[inline(always)]
            unsafe fn or_equal($kept, $key: Self, $put: Self) -> Self {
                // SAFETY: the trait's promises.
                unsafe { $or_equal }
            }

            #[inline(always)]
            unsafe fn or_larger($smaller, $larger: Self) -> Self {
                // SAFETY: the trait's promises.
                unsafe { $or_larger }
            }

            #[inline(always)]
            unsafe fn or_nan($value, $other: Self) -> Self {
                // SAFETY: the trait's promises.
                unsafe { $or_nan }
            }
        }
    };
}

pub(super) use vector;
