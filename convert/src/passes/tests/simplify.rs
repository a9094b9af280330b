//! Operators that change nothing.

use super::{check, program, weights};
use crate::builder::Builder;
use infer::error::Result;
use infer::graph::ValueId;
use infer::ops::{Expand, GatherNd, Pad};
use infer::tensor::DType;

fn left(build: impl Fn(&mut Builder<'_>, ValueId) -> Result<ValueId>) -> Vec<String> {
    let dims = [1, 4, 6];
    check(program(&dims, |b, x| vec![build(b, x).unwrap()]), &dims)
}

#[test]
fn nothing_is_left_of_nothing() {
    let nodes = left(|b, x| {
        let pads = b.ints(&[0, 0, 0, 0, 0, 0])?;
        let y = b.emit1(Pad::default(), &[x, pads])?;
        let y = b.slice(y, 1, 0, i64::MAX)?;
        let shape = b.ints(&[1, 4, 6])?;
        let y = b.emit1(Expand, &[y, shape])?;
        let y = b.cast(y, DType::F64)?;
        let y = b.cast(y, DType::F32)?;
        let keep = b.ints(&[1, 1, 1, 1, 1, 1])?;
        let keep = b.cast(keep, DType::Bool)?;
        let other = weights(b, &[6], 3);
        b.select(keep, y, other)
    });
    assert!(nodes.is_empty(), "{nodes:?}");
}

#[test]
fn what_changes_something_stays() {
    assert_eq!(left(|b, x| b.reverse(x, 1)), ["Slice"]);
    assert_eq!(
        left(|b, x| {
            let y = b.cast(x, DType::F16)?;
            b.cast(y, DType::F32)
        }),
        ["Cast", "Cast"]
    );
    let some = left(|b, x| {
        let keep = b.ints(&[1, 1, 0, 1, 1, 1])?;
        let keep = b.cast(keep, DType::Bool)?;
        let other = weights(b, &[6], 3);
        b.select(keep, x, other)
    });
    assert_eq!(some, ["Where"]);
    let wider = left(|b, x| {
        let shape = b.ints(&[2, 1, 4, 6])?;
        b.emit1(Expand, &[x, shape])
    });
    assert_eq!(wider, ["Expand"]);
}

#[test]
fn a_gather_of_everything_is_a_view() {
    let all = |order: [i64; 4]| {
        left(move |b, x| {
            let indices = b.ints(&order)?;
            b.gather(x, indices, 1)
        })
    };
    assert!(all([0, 1, 2, 3]).is_empty());
    assert_eq!(all([0, 1, 3, 2]), ["Gather"]);
    let last = left(|b, x| {
        let x = b.reshape(x, &[-1, 24])?;
        let y = b.transpose(x, &[1, 0])?;
        let indices: Vec<i64> = (0..24).collect();
        let indices = b.array(&[4, 6, 1], &indices)?;
        b.emit1(GatherNd { batch_dims: 0 }, &[y, indices])
    });
    assert!(!last.contains(&"GatherNd".to_string()), "{last:?}");
}

#[test]
fn folding_does_not_blow_up_the_model() {
    let p = program(&[1, 4, 6], |b, x| {
        let small = weights(b, &[1, 1, 6], 3);
        let shape = b.ints(&[1 << 20, 1, 6]).unwrap();
        let large = b.emit1(Expand, &[small, shape]).unwrap();
        assert!(!b.is_constant(large), "25 MB from 24 bytes");
        let shape = b.ints(&[4, 6]).unwrap();
        let fits = b.emit1(Expand, &[small, shape]).unwrap();
        assert!(b.is_constant(fits));
        let some = b.slice(large, 0, 0, 1).unwrap();
        vec![b.add(x, some).unwrap()]
    });
    let optimized = super::run(p, &mut |_, _| ()).unwrap();
    let bytes = |v: &infer::graph::Value| v.constant.as_ref().map_or(0, |c| c.data.len());
    assert!(optimized.graphs[0].values.iter().map(bytes).sum::<usize>() < 1 << 20);
}
