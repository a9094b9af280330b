//! Tiles for x86-64 with AMX ("Intel Architecture Instruction Set Extensions Programming Reference", chapter 3):
//! products of 32 x 32, four of the eight tile registers accumulate.

use super::avx512;
use super::bf16x3::{
    Bf16x3, CHUNK, Finish, GROUP, ODD, Odd, ROWS_AHEAD, SplitPanel, SplitRows, TILE, TILE_BYTES, TileProduct,
};
use super::kernel::{Micro, PANEL};
use crate::cpu::Isa;
use crate::cpu::simd::prefetch_far;
use std::arch::asm;
use std::arch::x86_64::*;

/// Passes are longer than on vectors: they cost splitting no more, and C is read and written fewer times.
pub(super) const F32_32X32: Micro =
    Micro { isa: Isa::Amx, depth: 768, near: 640 << 10, bf16x3: Some(&BF16X3), ..avx512::F32_8X48 };

static BF16X3: Bf16x3 = Bf16x3 { rows, panel, product, finish, begin, end };

/// What LDTILECFG reads: for each tile register its rows and the bytes of each.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Registers 0 to 3 hold sums, 4 and 5 tiles of A, 6 and 7 tiles of B.
unsafe fn begin(height: usize) {
    let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    for register in 0..8 {
        config.row_bytes[register] = (CHUNK * 2) as u16;
        config.rows[register] = if register < 6 { height as u8 } else { TILE as u8 };
    }
    // SAFETY: the caller's promise that there are tiles; no code of Rust's uses them.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, preserves_flags)) }
}

unsafe fn end() {
    // SAFETY: as above.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
}

/// The three parts of two vectors' elements, paired: the first vector's in the lower halves of the lanes. `largest`
/// keeps the largest absolute value, doubled, as an integer.
#[target_feature(enable = "avx512f,avx512bw")]
fn split(x: __m512, y: __m512, largest: &mut __m512i) -> [__m512i; 3] {
    let (x1, x2, x3) = parts(x, largest);
    let (y1, y2, y3) = parts(y, largest);
    [pair(x1, y1), pair(x2, y2), pair(x3, y3)]
}

/// `x` as a sum of three numbers whose lower halves are zero: of the first two, each is what is left rounded to nearest.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn parts(x: __m512, largest: &mut __m512i) -> (__m512, __m512, __m512) {
    let doubled = _mm512_slli_epi32::<1>(_mm512_castps_si512(x));
    *largest = _mm512_max_epu32(*largest, doubled);
    let (half, upper) = (_mm512_set1_epi32(0x8000), _mm512_set1_epi32(0xffff_0000_u32 as i32));
    let round = |x: __m512| {
        let sum = _mm512_add_epi32(_mm512_castps_si512(x), half);
        _mm512_castsi512_ps(_mm512_and_si512(sum, upper))
    };
    let first = round(x);
    let rest = _mm512_sub_ps(x, first);
    let second = round(rest);
    (first, second, _mm512_sub_ps(rest, second))
}

/// The upper halves of `x` and `y`, side by side.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn pair(x: __m512, y: __m512) -> __m512i {
    let lower = _mm512_srli_epi32::<16>(_mm512_castps_si512(x));
    _mm512_mask_blend_epi16(0xaaaa_aaaa, lower, _mm512_castps_si512(y))
}

/// Whether there is an odd element.
#[inline]
#[target_feature(enable = "avx512f")]
fn is_odd(largest: __m512i) -> bool {
    _mm512_cmpge_epu32_mask(largest, _mm512_set1_epi32((ODD << 1) as i32)) != 0
}

/// The first `n` of 16 elements, and zeros.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_up_to(from: *const f32, n: usize) -> __m512 {
    let mask = if n >= 16 { 0xffff } else { (1 << n) - 1 };
    // SAFETY: the caller's promise that these elements exist.
    unsafe { _mm512_maskz_loadu_ps(mask, from) }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn rows(t: &SplitRows, odd: &mut Odd) {
    let mut to = t.to;
    for first in (0..t.count).step_by(t.height) {
        let block = first..(first + t.height).min(t.count);
        for segment in 0..t.segments {
            for k in (0..t.depth).step_by(CHUNK) {
                // Tile by tile: what is written is contiguous. SAFETY: the rows have the elements, and the tiles room.
                unsafe {
                    for (line, row) in block.clone().enumerate() {
                        let from = (*t.rows.add(segment * t.row_stride + row)).add(t.offset + k);
                        let mut largest = _mm512_setzero_si512();
                        let parts = row_chunk(from, t.depth - k, &mut largest);
                        for (part, tile) in parts.into_iter().zip(0..) {
                            _mm512_storeu_si512(to.add(tile * TILE_BYTES + line * CHUNK * 2).cast(), part);
                        }
                        if is_odd(largest) {
                            odd.insert(row);
                        }
                    }
                    to = to.add(3 * TILE_BYTES);
                }
            }
        }
    }
}

/// The parts of a chunk of a row, of which `left` elements are left.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn row_chunk(from: *const f32, left: usize, largest: &mut __m512i) -> [__m512i; 3] {
    let second = from.wrapping_add(CHUNK / 2);
    // SAFETY: the caller's promise that the elements exist.
    unsafe {
        if left >= CHUNK {
            split(_mm512_loadu_ps(from), _mm512_loadu_ps(second), largest)
        } else {
            split(load_up_to(from, left), load_up_to(second, left.saturating_sub(CHUNK / 2)), largest)
        }
    }
}

/// Rows of a panel that are fetched ahead: weights seldom come from a near cache.
const PANEL_AHEAD: usize = 128;

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn panel(t: &SplitPanel) -> bool {
    let mut largest = _mm512_setzero_si512();
    let mut to = t.to;
    for segment in 0..t.segments {
        for k in (0..t.depth).step_by(CHUNK) {
            let left = t.depth - k;
            // SAFETY: the panel has the rows, and the tiles room for them.
            unsafe {
                let from = t.panel.add((segment * t.depth + k) * PANEL);
                let row = |i: usize| if i < left { _mm512_loadu_ps(from.add(i * PANEL)) } else { _mm512_setzero_ps() };
                for i in 0..CHUNK / 2 {
                    for row in [2 * i, 2 * i + 1] {
                        prefetch_far(from.wrapping_add((row + PANEL_AHEAD) * PANEL));
                    }
                    let parts = split(row(i), row(i + CHUNK / 2), &mut largest);
                    for (part, tile) in parts.into_iter().zip(0..) {
                        _mm512_storeu_si512(to.add(tile * TILE_BYTES + i * CHUNK * 2).cast(), part);
                    }
                }
                to = to.add(3 * TILE_BYTES);
            }
        }
    }
    is_odd(largest)
}

/// A function for some tiles of sums: of each the register, and those of its factors. Each tile of a factor has a register
/// and a pointer. The smaller products of a chunk come first.
macro_rules! tile_product {
    ($name:ident: $($sum:literal = $left:literal * $right:literal at $to:ident),*;
     $($a:literal from $a_at:ident[$a_index:literal]),*; $($b:literal from $b_at:ident[$b_index:literal]),*;
     fetch $($next:ident[$next_index:literal]),*) => {
        unsafe fn $name(t: &TileProduct) {
            // Rows of two panels.
            const SUMS_STRIDE: usize = GROUP * PANEL * size_of::<f32>();
            // SAFETY: the caller's promises.
            unsafe {
                asm!(
                    $(concat!("tilezero tmm", $sum),)*
                    "2:",
                    // A3 B1, A2 B1, A2 B2, A1 B2, A1 B3, A1 B1.
                    $(concat!("tileloadd tmm", $a, ", [{", stringify!($a_at), "} + {pitch} + 2048]"),)*
                    $(concat!("tileloadd tmm", $b, ", [{", stringify!($b_at), "} + {pitch}]"),)*
                    $(concat!("tdpbf16ps tmm", $sum, ", tmm", $left, ", tmm", $right),)*
                    $(concat!("prefetcht1 [{", stringify!($next), "}]"),)*
                    $(concat!("tileloadd tmm", $a, ", [{", stringify!($a_at), "} + {pitch} + 1024]"),)*
                    $(concat!("tdpbf16ps tmm", $sum, ", tmm", $left, ", tmm", $right),)*
                    $(concat!("prefetcht1 [{", stringify!($next), "} + 64]"),)*
                    $(concat!("tileloadd tmm", $b, ", [{", stringify!($b_at), "} + {pitch} + 1024]"),)*
                    $(concat!("tdpbf16ps tmm", $sum, ", tmm", $left, ", tmm", $right),)*
                    $(concat!("prefetcht1 [{", stringify!($next), "} + 128]"),)*
                    $(concat!("tileloadd tmm", $a, ", [{", stringify!($a_at), "} + {pitch}]"),)*
                    $(concat!("tdpbf16ps tmm", $sum, ", tmm", $left, ", tmm", $right),)*
                    $(concat!("prefetcht1 [{", stringify!($next), "} + 192]"),)*
                    $(concat!("tileloadd tmm", $b, ", [{", stringify!($b_at), "} + {pitch} + 2048]"),)*
                    $(concat!("tdpbf16ps tmm", $sum, ", tmm", $left, ", tmm", $right),)*
                    $(concat!("prefetcht1 [{", stringify!($next), "} + 256]"), concat!("prefetcht1 [{", stringify!($next), "} + 320]"),)*
                    $(concat!("tileloadd tmm", $b, ", [{", stringify!($b_at), "} + {pitch}]"),)*
                    $(concat!("tdpbf16ps tmm", $sum, ", tmm", $left, ", tmm", $right),)*
                    $(concat!("prefetcht1 [{", stringify!($next), "} + 384]"), concat!("prefetcht1 [{", stringify!($next), "} + 448]"),)*
                    $(concat!("add {", stringify!($next), "}, 512"),)*
                    $(concat!("add {", stringify!($a_at), "}, 3072"),)*
                    $(concat!("add {", stringify!($b_at), "}, 3072"),)*
                    "dec {chunks}",
                    "jnz 2b",
                    $(concat!("tilestored [{", stringify!($to), "} + {stride}], tmm", $sum),)*
                    $($a_at = inout(reg) t.a[$a_index] => _,)*
                    $($b_at = inout(reg) t.b[$b_index] => _,)*
                    $($next = inout(reg) t.next[$next_index] => _,)*
                    $($to = in(reg) tile_product!($to t),)*
                    chunks = inout(reg) t.chunks => _,
                    pitch = in(reg) CHUNK * 2,
                    stride = in(reg) SUMS_STRIDE,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
    (c00 $t:ident) => { $t.sums };
    (c01 $t:ident) => { $t.sums.wrapping_add(PANEL) };
    (c10 $t:ident) => { $t.sums.wrapping_add($t.height * GROUP * PANEL) };
    (c11 $t:ident) => { $t.sums.wrapping_add($t.height * GROUP * PANEL + PANEL) };
}

const _: () = assert!(TILE_BYTES == 1024 && ROWS_AHEAD * PANEL * 4 == 512);

tile_product!(product_2x2: 0 = 4 * 6 at c00, 1 = 4 * 7 at c01, 2 = 5 * 6 at c10, 3 = 5 * 7 at c11;
    4 from a0[0], 5 from a1[1]; 6 from b0[0], 7 from b1[1]; fetch n0[0], n1[1]);
tile_product!(product_1x2: 0 = 4 * 6 at c00, 1 = 4 * 7 at c01;
    4 from a0[0]; 6 from b0[0], 7 from b1[1]; fetch n0[0], n1[1]);
tile_product!(product_2x1: 0 = 4 * 6 at c00, 2 = 5 * 6 at c10;
    4 from a0[0], 5 from a1[1]; 6 from b0[0]; fetch n0[0], n1[1]);
tile_product!(product_1x1: 0 = 4 * 6 at c00; 4 from a0[0]; 6 from b0[0]; fetch n0[0], n1[1]);

unsafe fn product(t: &TileProduct) {
    // SAFETY: the caller's promises.
    unsafe {
        match (t.blocks, t.panels) {
            (1, 1) => product_1x1(t),
            (1, _) => product_1x2(t),
            (_, 1) => product_2x1(t),
            _ => product_2x2(t),
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn finish(t: &Finish, odd: &Odd) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut bias = [_mm512_setzero_ps(); GROUP];
        let mut masks = [0; GROUP];
        for p in 0..GROUP {
            let n = t.cols.saturating_sub(p * PANEL);
            masks[p] = if n >= PANEL { 0xffff } else { (1 << n) - 1 };
            if !t.bias.is_null() {
                bias[p] = load_up_to(t.bias.wrapping_add(p * PANEL), n);
            }
        }
        for (i, row) in t.rows.clone().enumerate() {
            if odd.contains(row) {
                continue;
            }
            let (sums, c) = (t.sums.add(i * GROUP * PANEL), t.c.wrapping_add(i * t.c_stride));
            for p in 0..GROUP {
                let mut sum = _mm512_add_ps(_mm512_loadu_ps(sums.add(p * PANEL)), bias[p]);
                if !t.addend.is_null() {
                    let addend = t.addend.wrapping_add(i * t.addend_stride + p * PANEL);
                    sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(masks[p], addend));
                }
                _mm512_mask_storeu_ps(c.wrapping_add(p * PANEL), masks[p], t.simple.apply(sum));
            }
        }
    }
}
