//! Pooling.

use super::window::{given_pads, positive};
use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::pool::PoolKind;
use infer::ops::reduce::ReduceKind;
use infer::ops::scatter_elements::Reduction;
use infer::ops::unary::UnaryKind;
use infer::ops::{Pool, ScatterElements};

pub const TABLE: Table = &[
    ("AveragePool", average),
    ("GlobalAveragePool", |cx, n| global(cx, n, ReduceKind::Mean)),
    ("GlobalLpPool", global_lp),
    ("GlobalMaxPool", |cx, n| global(cx, n, ReduceKind::Max)),
    ("LpPool", lp),
    ("MaxPool", max),
    ("MaxUnpool", max_unpool),
];

fn max(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let column_major = n.flag("storage_order", false)?;
    let mut outputs = pool(cx, n, PoolKind::Max, column_major)?;
    outputs.truncate(n.outputs.len());
    outputs.into_iter().map(|v| cx.b.channels_first(v)).collect()
}

/// Elements put back where a MaxPool found them, zeros around. Positions count through the whole result.
fn max_unpool(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let (x, places) = (cx.input(n, 0)?, cx.input(n, 1)?);
    let rank = cx.b.rank(x).saturating_sub(2);
    let (kernel, strides) = (positive(n, "kernel_shape", rank)?, positive(n, "strides", rank)?);
    let pads = given_pads(n, rank)?;
    let mut parts = vec![cx.b.extent((x, 0))?, cx.b.extent((x, 1))?];
    for i in 0..rank {
        let steps = cx.b.extent((x, i + 2))?;
        let steps = cx.b.binary_with(BinaryKind::Sub, steps, 1.0)?;
        let reach = cx.b.binary_with(BinaryKind::Mul, steps, strides[i].into())?;
        let rest = i64::from(kernel[i]).saturating_sub(pads[i]).saturating_sub(pads[i + rank]);
        parts.push(cx.b.binary_with(BinaryKind::Add, reach, rest as f64)?);
    }
    let shape = cx.b.concat(0, &parts)?;
    if let Some(given) = cx.optional(n, 2)? {
        // Other positions would be meant in the given shape than in the one that follows from the attributes.
        let own = cx.b.known_ints(shape);
        if own.is_none() || cx.b.known_ints(given) != own {
            let message = "an output_shape that is not known to be the one that follows from the attributes";
            return Err(Error::unsupported(message));
        }
    }
    let zero = cx.b.scalar(cx.b.dtype(x), 0.0)?;
    let zeros = cx.b.expand(zero, shape)?;
    let [zeros, places, x] = [zeros, places, x].map(|v| cx.b.reshape(v, &[-1]));
    let op = ScatterElements { axis: 0, reduction: Reduction::Replace };
    let y = cx.b.emit1(op, &[zeros?, places?, x?])?;
    Ok(vec![cx.b.reshape_by(y, shape)?])
}

fn average(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let count_padding = n.flag("count_include_pad", false)?;
    let y = pool(cx, n, PoolKind::Mean { count_padding }, false)?[0];
    Ok(vec![cx.b.channels_first(y)?])
}

fn lp(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let p = norm_exponent(n)?;
    let y = pool(cx, n, PoolKind::Norm { p }, false)?[0];
    Ok(vec![cx.b.channels_first(y)?])
}

/// The attribute `p`, a float in opset 1.
fn norm_exponent(n: &Node) -> Result<u32> {
    let p = if n.opset < 2 { f64::from(n.float("p", 2.0)?) } else { n.int("p", 2)? as f64 };
    match p.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&p) {
        true => Ok(p as u32),
        false => Err(Error::unsupported(format!("the {p}-norm"))),
    }
}

/// Emits a Pool; its outputs are channels-last.
fn pool(cx: &mut Cx<'_>, n: &Node, kind: PoolKind, column_major_indices: bool) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let rank = cx.b.rank(x).saturating_sub(2);
    if n.ints("kernel_shape")?.is_none() {
        return Err(Error::format("attribute 'kernel_shape' is missing"));
    }
    let kernel = positive(n, "kernel_shape", rank)?;
    let spatial = cx.spatial(x, rank)?;
    let window = cx.window(n, &spatial, &kernel.iter().map(|&k| k as usize).collect::<Vec<_>>())?;
    let ceil = n.flag("ceil_mode", false)?;
    let x = cx.b.channels_last(x)?;
    cx.b.emit(Pool { kind, kernel, window, ceil, column_major_indices }, &[Some(x)])
}

fn global(cx: &mut Cx<'_>, n: &Node, kind: ReduceKind) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let axes: Vec<usize> = (1..cx.b.rank(x).saturating_sub(1)).collect();
    let x = cx.b.channels_last(x)?;
    let y = cx.b.reduce(kind, x, &axes, true)?;
    Ok(vec![cx.b.channels_first(y)?])
}

fn global_lp(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let p = norm_exponent(n)?;
    match p {
        1 => return global(cx, n, ReduceKind::L1),
        2 => return global(cx, n, ReduceKind::L2),
        _ => {}
    }
    let x = cx.input(n, 0)?;
    let axes: Vec<usize> = (2..cx.b.rank(x)).collect();
    let x = cx.b.unary(UnaryKind::Abs, x)?;
    let powers = cx.b.binary_with(BinaryKind::Pow, x, p.into())?;
    let sum = cx.b.reduce(ReduceKind::Sum, powers, &axes, true)?;
    Ok(vec![cx.b.binary_with(BinaryKind::Pow, sum, 1.0 / f64::from(p))?])
}
