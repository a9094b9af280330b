//! Determinants of small matrices, by expansion along rows.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;

pub const TABLE: Table = &[("Det", det)];

/// Largest extent of a matrix; the number of products grows with its factorial.
const MOST_ROWS: i64 = 4;

fn det(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let x = cx.input(n, 0)?;
    let dims = cx.b.dims(x);
    let size = match &dims[..] {
        [.., rows, columns] if rows == columns => rows.fixed(),
        _ => return Err(Error::shape(format!("the determinant of {}; a square matrix is needed", cx.b.ty(x)))),
    };
    let Some(size @ 1..=MOST_ROWS) = size else {
        let message = format!("the determinant of {}: at most {MOST_ROWS} rows, fixed in the model", cx.b.ty(x));
        return Err(Error::unsupported(message));
    };
    Ok(vec![cx.minor(x, 0, &(0..size).collect::<Vec<_>>())?])
}

impl Cx<'_> {
    /// The determinant of the rows from `row` on and as many columns.
    fn minor(&mut self, x: ValueId, row: i64, columns: &[i64]) -> Result<ValueId> {
        let rank = self.b.rank(x);
        let mut sum = None;
        for (i, &column) in columns.iter().enumerate() {
            let element = self.b.pick(x, rank - 2, row)?;
            let mut term = self.b.pick(element, rank - 2, column)?;
            let others: Vec<i64> = columns.iter().copied().filter(|&c| c != column).collect();
            if !others.is_empty() {
                let minor = self.minor(x, row + 1, &others)?;
                term = self.b.mul(term, minor)?;
            }
            sum = Some(match sum {
                None => term,
                Some(sum) if i % 2 == 1 => self.b.sub(sum, term)?,
                Some(sum) => self.b.add(sum, term)?,
            });
        }
        sum.ok_or_else(|| Error::internal("a minor without columns"))
    }
}
