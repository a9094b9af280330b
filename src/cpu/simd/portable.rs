//! A vector for any target: four elements, which compilers map to a 128-bit register.

use super::Vector;

/// Four elements.
#[derive(Clone, Copy, Debug)]
pub struct Four([f32; 4]);

impl Four {
    #[inline(always)]
    fn zip(self, other: Four, f: impl Fn(f32, f32) -> f32) -> Four {
        let mut result = self;
        for i in 0..4 {
            result.0[i] = f(self.0[i], other.0[i]);
        }
        result
    }
}

impl Vector for Four {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Four([value; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the trait's promises.
        Four(unsafe { from.cast::<[f32; 4]>().read() })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        let mut values = [0.0; 4];
        // SAFETY: the trait's promises.
        unsafe { std::ptr::copy_nonoverlapping(from, values.as_mut_ptr(), n) };
        Four(values)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the trait's promises.
        unsafe { to.cast::<[f32; 4]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        // SAFETY: the trait's promises.
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), to, n) };
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the trait's promises.
        unsafe { self.mul(factor).add(addend) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |x, y| if x < y { y } else { x })
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |x, y| if x > y { y } else { x })
    }

    #[inline(always)]
    unsafe fn or_larger(self, other: Self) -> Self {
        self.zip(other, |x, y| if x < y { y } else { x })
    }

    #[inline(always)]
    unsafe fn spread_fours(self) -> [Self; 4] {
        self.0.map(|x| Four([x; 4]))
    }

    #[inline(always)]
    unsafe fn permute(self, index: &[u32]) -> Self {
        Four(std::array::from_fn(|i| self.0[index[i] as usize % 4]))
    }

    #[inline(always)]
    unsafe fn or_equal(self, other: Self, value: Self) -> Self {
        Four(std::array::from_fn(|i| if other.0[i] == value.0[i] { value.0[i] } else { self.0[i] }))
    }

    #[inline(always)]
    unsafe fn or_nan(self, other: Self) -> Self {
        self.zip(other, |x, y| if y.is_nan() { y } else { x })
    }
}
