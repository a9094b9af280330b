//! Losses of classifications.

use super::{Cx, Table};
use crate::onnx::model::Node;
use infer::error::{Error, Result};
use infer::graph::ValueId;
use infer::ops::binary::BinaryKind;
use infer::ops::reduce::ReduceKind;
use infer::ops::softmax::SoftmaxKind;
use infer::ops::unary::UnaryKind;
use infer::ops::{GatherElements, Softmax};

pub const TABLE: Table =
    &[("NegativeLogLikelihoodLoss", negative_log_likelihood), ("SoftmaxCrossEntropyLoss", softmax_cross_entropy)];

fn negative_log_likelihood(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let logs = cx.input(n, 0)?;
    Ok(vec![cx.loss(n, logs)?])
}

fn softmax_cross_entropy(cx: &mut Cx<'_>, n: &Node) -> Result<Vec<ValueId>> {
    let scores = cx.input(n, 0)?;
    let logs = cx.b.emit1(Softmax { kind: SoftmaxKind::LogSoftmax, axis: 1 }, &[scores])?;
    Ok(vec![cx.loss(n, logs)?, logs])
}

impl Cx<'_> {
    /// The loss for logarithms of probabilities `[N, C, ..]` and target classes (input 1) `[N, ..]`, with a weight for each
    /// class (optional input 2); targets equal to `ignore_index` do not count.
    fn loss(&mut self, n: &Node, logs: ValueId) -> Result<ValueId> {
        let (mut target, weights) = (self.input(n, 1)?, self.optional(n, 2)?);
        let reduction = n.string("reduction", "mean")?;
        let rank = self.b.rank(logs);
        if rank < 2 || self.b.rank(target) + 1 != rank {
            let (logs, target) = (self.b.ty(logs), self.b.ty(target));
            return Err(Error::shape(format!("targets {target} for probabilities {logs}")));
        }
        let dtype = self.b.dtype(logs);
        let zero = self.b.scalar(dtype, 0.0)?;
        let mut ignored = None;
        if let Some(index) = n.attribute::<i64>("ignore_index")? {
            let index = self.b.scalar(self.b.dtype(target), index as f64)?;
            let mask = self.b.binary(BinaryKind::Equal, target, index)?;
            let any = self.b.scalar(self.b.dtype(target), 0.0)?;
            target = self.b.select(mask, any, target)?;
            ignored = Some(mask);
        }
        let mut weight = match weights {
            Some(weights) => Some(self.b.gather(weights, target, 0)?),
            None if ignored.is_some() => Some(self.b.scalar(dtype, 1.0)?),
            None => None,
        };
        if let (Some(w), Some(mask)) = (weight, ignored) {
            weight = Some(self.b.select(mask, zero, w)?);
        }
        let places = self.b.unsqueeze(target, &[1])?;
        let picked = self.b.emit1(GatherElements { axis: 1 }, &[logs, places])?;
        let picked = self.b.squeeze(picked, &[1])?;
        let mut loss = self.b.unary(UnaryKind::Neg, picked)?;
        if let Some(w) = weight {
            loss = self.b.mul(loss, w)?;
        }
        self.reduced_loss(loss, weight, reduction)
    }

    fn reduced_loss(&mut self, loss: ValueId, weight: Option<ValueId>, reduction: &str) -> Result<ValueId> {
        let all: Vec<usize> = (0..self.b.rank(loss)).collect();
        match (reduction, weight) {
            ("none", _) => Ok(loss),
            ("sum", _) => self.b.reduce(ReduceKind::Sum, loss, &all, false),
            ("mean", None) => self.b.reduce(ReduceKind::Mean, loss, &all, false),
            ("mean", Some(weight)) => {
                let sum = self.b.reduce(ReduceKind::Sum, loss, &all, false)?;
                let weights = self.b.reduce(ReduceKind::Sum, weight, &all, false)?;
                self.b.div(sum, weights)
            }
            (other, _) => Err(Error::format(format!("reduction '{other}' is not defined"))),
        }
    }
}
