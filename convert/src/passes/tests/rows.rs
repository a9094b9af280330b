//! Rows that are moved about.

use super::{check, program};
use crate::builder::Builder;
use infer::error::Result;
use infer::graph::ValueId;

/// The operators left of a function of 8 x 8 rows of 32 elements, for a batch of one.
fn left(build: impl Fn(&mut Builder<'_>, ValueId) -> Result<ValueId>) -> Vec<String> {
    let dims = [1, 8 * 8 * 32];
    let build = |b: &mut Builder<'_>, x| {
        let x = b.slice(x, 0, 0, 1)?;
        let x = b.reshape(x, &[1, 8, 8, 32])?;
        let y = build(b, x)?;
        b.unary(infer::ops::unary::UnaryKind::Neg, y)
    };
    check(program(&dims, |b, x| vec![build(b, x).unwrap()]), &dims)
}

/// Moves rows by `n` along an axis, around the end.
fn roll(b: &mut Builder<'_>, x: ValueId, axis: usize, n: i64) -> Result<ValueId> {
    let (head, tail) = (b.slice(x, axis, 0, n)?, b.slice(x, axis, n, i64::MAX)?);
    b.concat(axis as i64, &[tail, head])
}

#[test]
fn shifted_windows_are_one_gather() {
    let nodes = left(|b, x| {
        let x = roll(b, x, 1, 2)?;
        let x = roll(b, x, 2, 3)?;
        let x = b.reshape(x, &[1, 2, 4, 2, 4, 32])?;
        let x = b.transpose(x, &[0, 1, 3, 2, 4, 5])?;
        b.reshape(x, &[4, 16, 32])
    });
    assert_eq!(nodes.iter().filter(|n| *n == "Gather").count(), 1, "{nodes:?}");
    assert!(!nodes.iter().any(|n| n == "Concat" || n == "Transpose"), "{nodes:?}");
}

#[test]
fn merged_patches_are_one_gather() {
    let nodes = left(|b, x| {
        let mut parts = vec![];
        for (row, column) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let x = b.reshape(x, &[1, 4, 2, 4, 2, 32])?;
            let x = b.pick(x, 4, column)?;
            parts.push(b.pick(x, 2, row)?);
        }
        b.concat(3, &parts)
    });
    assert_eq!(nodes.iter().filter(|n| *n == "Gather").count(), 1, "{nodes:?}");
    assert!(!nodes.iter().any(|n| n == "Concat"), "{nodes:?}");
}

#[test]
fn parts_of_rows_are_moved_as_they_were() {
    let nodes = left(|b, x| {
        let x = roll(b, x, 3, 5)?;
        roll(b, x, 1, 2)
    });
    assert!(nodes.contains(&"Concat".to_string()), "{nodes:?}");
    let turned = left(|b, x| {
        let x = b.transpose(x, &[0, 3, 2, 1])?;
        roll(b, x, 1, 2)
    });
    assert!(turned.contains(&"Transpose".to_string()), "{turned:?}");
}

#[test]
fn chains_that_need_more_dimensions_than_a_tensor_has_stay() {
    let nodes = left(|b, x| {
        let x = b.reshape(x, &[2, 2, 2, 2, 2, 64])?;
        let x = b.transpose(x, &[4, 3, 2, 1, 0, 5])?;
        let x = b.reshape(x, &[32, 2, 2, 2, 2, 4])?;
        b.transpose(x, &[0, 4, 3, 2, 1, 5])
    });
    assert_eq!(nodes.iter().filter(|n| *n == "Transpose").count(), 2, "{nodes:?}");
}
