//! Products in f32: by the packed-panel driver, or directly where they have few rows.
//!
//! Phases, each only where needed: operands are copied to the form that the driver reads; the product; and what the
//! driver's epilogue lacks: `alpha`, and a bias that is neither a row nor as large as the output.
#![allow(unsafe_code, reason = "calls the matrix product driver on raw parts of the output")]

use super::MatMul;
use super::operands::Operands;
use super::shape::{Offsets, Problem};
use crate::cpu::gemm::direct::{self, Direct};
use crate::cpu::gemm::{Gemm, GemmShape, Output, StridedRows};
use crate::cpu::simd::{Machine, Work};
use crate::cpu::{Activation, Isa};
use crate::error::Result;
use crate::ops::{Kernel, Prepare};
use crate::tensor::{Args, Grid};
use std::ptr;

/// Multiply-adds, or elements of the output, worth a part of their own.
const PRODUCT_GRAIN: usize = 128 * 1024;
const FINISH_GRAIN: usize = 32 * 1024;

/// The kernel of a product.
pub struct Product {
    isa: Isa,
    operands: Operands,
    /// Products, and the extents of each.
    batch: usize,
    shape: GemmShape,
    method: Method,
    epilogue: Epilogue,
    finish: Option<Finish>,
    phases: Vec<(Phase, Grid)>,
}

#[derive(Clone, Copy)]
enum Phase {
    Operands,
    Product,
    Finish,
}

enum Method {
    Driver(Gemm),
    Direct(Direct),
}

/// What the product's own phase adds and applies.
struct Epilogue {
    /// Input that holds one value per column.
    row: Option<usize>,
    /// Input of the output's shape.
    full: Option<usize>,
    activation: Activation,
}

/// What is left for a phase of its own: `activation(alpha * product + bias + residual)`.
struct Finish {
    alpha: f32,
    bias: Option<Offsets>,
    activation: Activation,
}

impl Product {
    /// The kernel for a product of known shape.
    pub fn prepare(op: &MatMul, problem: &Problem, cx: &Prepare<'_>) -> Result<Box<dyn Kernel>> {
        // One B for all products makes them one product, of all rows of A.
        let (batch, m) = if problem.is_one() { (1, problem.batch * problem.m) } else { (problem.batch, problem.m) };
        let shape = GemmShape::matrix(m, problem.n, problem.k);
        let direct = !problem.b.panels && m <= direct::MAX_ROWS;
        let operands = Operands::new(problem, !problem.b.panels && !direct)?;
        let method = match direct {
            true => Method::Direct(Direct::new(cx.isa, m, problem.n, problem.k, problem.b.transposed)),
            false => Method::Driver(Gemm::new(cx.target(), shape)?),
        };
        let (epilogue, finish) = epilogue(op, problem, cx);
        let mut kernel =
            Product { isa: cx.isa, operands, batch, shape, method, epilogue, finish, phases: Vec::with_capacity(3) };
        kernel.plan();
        Ok(Box::new(kernel))
    }

    fn plan(&mut self) {
        let outputs = self.batch * self.shape.m * self.shape.n;
        if let Some(grid) = self.operands.grid() {
            self.phases.push((Phase::Operands, grid));
        }
        let parts = match self.batch {
            1 => self.method.parts(),
            _ => (outputs.saturating_mul(self.shape.depth) / PRODUCT_GRAIN).min(Grid::MAX_PARTS),
        };
        let units = if outputs == 0 { 0 } else { self.batch * self.method.parts() };
        self.phases.push((Phase::Product, Grid::rows(units, parts)));
        if self.finish.is_some() {
            self.phases.push((Phase::Finish, Grid::by_cost(outputs, 1, FINISH_GRAIN)));
        }
    }
}

/// Divides bias, residual and activation between the product's phase and one of its own.
fn epilogue(op: &MatMul, problem: &Problem, cx: &Prepare<'_>) -> (Epilogue, Option<Finish>) {
    let bias = cx.optional(2).map(|bias| Offsets::new(&bias.info.dims, &cx.out_dims(0), 1));
    let residual = cx.optional(3).map(|_| 3);
    let row = bias.is_some_and(|b| b.is_row(problem.n));
    let full = bias.is_some_and(|b| !row && b.is_full());
    if op.alpha == 1.0 && (bias.is_none() || row || full && residual.is_none()) {
        let full = residual.or(full.then_some(2));
        return (Epilogue { row: row.then_some(2), full, activation: op.activation }, None);
    }
    let finish = Finish { alpha: op.alpha, bias, activation: op.activation };
    (Epilogue { row: None, full: None, activation: Activation::None }, Some(finish))
}

impl Method {
    fn parts(&self) -> usize {
        match self {
            Method::Driver(gemm) => gemm.parts(),
            Method::Direct(direct) => direct.parts(),
        }
    }
}

impl Kernel for Product {
    fn phases(&self) -> Vec<Grid> {
        self.phases.iter().map(|p| p.1).collect()
    }

    fn shared_bytes(&self) -> usize {
        self.operands.bytes()
    }

    fn scratch_bytes(&self) -> usize {
        match &self.method {
            Method::Driver(gemm) => gemm.scratch_bytes(),
            Method::Direct(_) => 0,
        }
    }

    fn run(&self, phase: usize, args: &mut Args<'_>) -> Result<()> {
        match (self.phases[phase].0, &self.finish) {
            (Phase::Operands, _) => self.operands.run(args),
            (Phase::Finish, Some(finish)) => self.isa.dispatch(FinishPart { finish, args }),
            _ => self.multiply(args),
        }
        Ok(())
    }
}

impl Product {
    /// This part's products, or parts of products.
    fn multiply(&self, args: &mut Args<'_>) {
        let (units, _) = args.ranges();
        let scratch = args.scratch::<u8>();
        let parts = self.method.parts();
        for unit in units {
            let (batch, part) = (unit / parts, unit % parts);
            let (a, b) = self.operands.of_product(batch, self.shape.m, args);
            let out = self.output(batch, args);
            match &self.method {
                // SAFETY: the operands have the product's shape, and parts of different number are disjoint.
                Method::Driver(gemm) => unsafe {
                    let rows = StridedRows { data: a.as_ptr(), stride: self.shape.depth };
                    gemm.run_part(part, &rows, b.as_ptr(), &out, scratch.as_mut_ptr());
                },
                // SAFETY: as above.
                Method::Direct(direct) => unsafe { direct.run_part(part, a, b, &out) },
            }
        }
    }

    /// The output of product `batch`.
    fn output(&self, batch: usize, args: &Args<'_>) -> Output {
        let n = self.shape.n;
        let first = batch * self.shape.m * n;
        let out = args.raw_output(0);
        assert!((first + self.shape.m * n) * size_of::<f32>() <= out.byte_len(), "the output is too small");
        let input = |input: Option<usize>, first: usize, len: usize| match input {
            Some(input) => args.input::<f32>(input)[first..first + len].as_ptr(),
            None => ptr::null(),
        };
        Output {
            // SAFETY: inside the output, checked above.
            data: unsafe { out.as_ptr().cast::<f32>().add(first) },
            stride: n,
            bias: input(self.epilogue.row, 0, n),
            residual: input(self.epilogue.full, first, self.shape.m * n),
            residual_stride: n,
            activation: self.epilogue.activation,
        }
    }
}

struct FinishPart<'f, 'a, 'b> {
    finish: &'f Finish,
    args: &'a mut Args<'b>,
}

impl Work for FinishPart<'_, '_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<M: Machine>(self) {
        let FinishPart { finish: Finish { alpha, bias, activation }, args } = self;
        let tile = args.output::<f32>(0);
        let rows = tile.rows();
        let values = tile.into_slice();
        values.iter_mut().for_each(|x| *x *= alpha);
        if let (Some(offsets), Some(bias)) = (bias, args.optional(2)) {
            offsets.add(values, rows.start, bias);
        }
        if let Some(residual) = args.optional::<f32>(3) {
            values.iter_mut().zip(&residual[rows]).for_each(|(x, r)| *x += r);
        }
        activation.apply_to(M::ISA, values);
    }
}
