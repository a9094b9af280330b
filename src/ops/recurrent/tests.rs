use super::*;
use crate::cpu::Isa;
use crate::ops::Tensor;
use crate::ops::elementwise::Number;
use crate::ops::evaluate::evaluate;
use crate::ops::pack::pack;
use crate::ops::testing::{Random, as_f64, check_optional, check_stored, infer_error};
use crate::tensor::{Layout, Sym};
use ::half::{bf16, f16};

const KINDS: [CellKind; 3] = [CellKind::Rnn, CellKind::Gru, CellKind::Lstm];
const DIRECTIONS: [Direction; 3] = [Direction::Forward, Direction::Reverse, Direction::Both];

fn layer(kind: CellKind, hidden: u32) -> Recurrent {
    Recurrent {
        kind,
        hidden,
        direction: Direction::Forward,
        linear_before_reset: false,
        input_forget: false,
        clip: 0.0,
        functions: vec![],
        batch_first: false,
    }
}

/// A layer with extents and the optional inputs that it has.
#[derive(Clone)]
struct Case {
    op: Recurrent,
    steps: usize,
    batch: usize,
    width: usize,
    bias: bool,
    lengths: Option<Vec<i32>>,
    states: bool,
    peepholes: bool,
}

impl Case {
    fn new(op: Recurrent, steps: usize, batch: usize, width: usize) -> Self {
        Case { op, steps, batch, width, bias: false, lengths: None, states: false, peepholes: false }
    }

    fn full(op: Recurrent, steps: usize, batch: usize, width: usize) -> Self {
        let peepholes = op.kind == CellKind::Lstm;
        Case { bias: true, states: true, peepholes, ..Case::new(op, steps, batch, width) }
    }

    fn extents(&self) -> (usize, usize, usize) {
        (self.op.direction.count(), self.op.hidden as usize, self.op.kind.gates())
    }

    fn tensors<T: Number>(&self) -> [Option<Tensor>; 8] {
        let (d, h, g) = self.extents();
        let mut random = Random::new(23);
        // Small enough for large layers not to magnify rounding errors from step to step.
        let most = 0.7f32.min(1.5 / (h as f32).sqrt());
        let mut tensor = |dims: &[usize]| random.tensor_of(dims, |r| T::from_f64(f64::from(r.range(-most, most))));
        let x = match self.op.batch_first {
            true => tensor(&[self.batch, self.steps, self.width]),
            false => tensor(&[self.steps, self.batch, self.width]),
        };
        let state = if self.op.batch_first { [self.batch, d, h] } else { [d, self.batch, h] };
        let lstm = self.op.kind == CellKind::Lstm;
        [
            Some(x),
            Some(tensor(&[d, self.width, g * h])),
            Some(tensor(&[d, h, g * h])),
            self.bias.then(|| tensor(&[d, 2 * g * h])),
            self.lengths.as_ref().map(|l| Tensor::new(&[l.len()], l).unwrap()),
            self.states.then(|| tensor(&state)),
            (self.states && lstm).then(|| tensor(&state)),
            self.peepholes.then(|| tensor(&[d, 3 * h])),
        ]
    }

    /// Y and the last states, by the equations, one element at a time.
    fn reference(&self, inputs: &[Option<Tensor>; 8]) -> [Vec<f64>; 3] {
        let v = inputs.each_ref().map(|t| t.as_ref().map(as_f64));
        let (directions, h, _) = self.extents();
        let (steps, batch) = (self.steps, self.batch);
        let states = directions * batch * h;
        let mut out = [vec![0.0; steps * states], vec![0.0; states], vec![0.0; states]];
        let state_at = |d: usize, b: usize| h * if self.op.batch_first { b * directions + d } else { d * batch + b };
        for (d, b) in (0..directions).flat_map(|d| (0..batch).map(move |b| (d, b))) {
            let initial = |i: usize| match &v[i] {
                Some(s) => s[state_at(d, b)..][..h].to_vec(),
                None => vec![0.0; h],
            };
            let (mut hidden, mut cell) = (initial(5), initial(6));
            let length = self.lengths.as_ref().map_or(steps, |l| l[b] as usize);
            for step in 0..length {
                let reverse = self.op.direction == Direction::Reverse || d == 1;
                let t = if reverse { length - 1 - step } else { step };
                let row = if self.op.batch_first { b * steps + t } else { t * batch + b };
                let x = &v[0].as_ref().unwrap()[row * self.width..][..self.width];
                self.cell(&v, d, x, &mut hidden, &mut cell);
                let row = match self.op.batch_first {
                    true => (b * steps + t) * directions + d,
                    false => (t * directions + d) * batch + b,
                };
                out[0][row * h..][..h].copy_from_slice(&hidden);
            }
            out[1][state_at(d, b)..][..h].copy_from_slice(&hidden);
            out[2][state_at(d, b)..][..h].copy_from_slice(&cell);
        }
        out
    }

    fn cell(&self, v: &[Option<Vec<f64>>; 8], d: usize, x: &[f64], hidden: &mut [f64], cell: &mut [f64]) {
        let (_, h, gates) = self.extents();
        let n = gates * h;
        let product = |which: usize, from: &[f64], gate: usize, unit: usize| -> f64 {
            let weights = &v[which].as_ref().unwrap()[d * from.len() * n..];
            from.iter().enumerate().map(|(k, x)| x * weights[k * n + gate * h + unit]).sum()
        };
        let bias = |which: usize, gate: usize, unit: usize| {
            v[3].as_ref().map_or(0.0, |bias| bias[(2 * d + which) * n + gate * h + unit])
        };
        let peephole = |i: usize, unit: usize| v[7].as_ref().map_or(0.0, |p| p[(3 * d + i) * h + unit]);
        let x_part = |gate: usize, unit: usize| product(1, x, gate, unit) + bias(0, gate, unit);
        let before = hidden.to_vec();
        let h_part = |gate: usize, unit: usize| product(2, &before, gate, unit) + bias(1, gate, unit);
        let f = |i: usize, x: f64| {
            let clip = f64::from(self.op.clip);
            let x = if clip > 0.0 && i < 2 { x.clamp(-clip, clip) } else { x };
            apply(self.op.functions(d)[i], x)
        };
        match self.op.kind {
            CellKind::Rnn => (0..h).for_each(|j| hidden[j] = f(0, x_part(0, j) + h_part(0, j))),
            CellKind::Gru => {
                let gate = |g: usize| -> Vec<f64> { (0..h).map(|j| f(0, x_part(g, j) + h_part(g, j))).collect() };
                let (z, r) = (gate(0), gate(1));
                let reset: Vec<f64> = before.iter().zip(&r).map(|(h, r)| h * r).collect();
                for j in 0..h {
                    let recurrent = match self.op.linear_before_reset {
                        true => r[j] * h_part(2, j),
                        false => product(2, &reset, 2, j) + bias(1, 2, j),
                    };
                    hidden[j] = (1.0 - z[j]) * f(1, x_part(2, j) + recurrent) + z[j] * before[j];
                }
            }
            CellKind::Lstm => {
                for j in 0..h {
                    let sum = |g: usize| x_part(g, j) + h_part(g, j);
                    let i = f(0, sum(0) + peephole(0, j) * cell[j]);
                    let forget = match self.op.input_forget {
                        true => 1.0 - i,
                        false => f(0, sum(2) + peephole(2, j) * cell[j]),
                    };
                    cell[j] = forget * cell[j] + i * f(1, sum(3));
                    let o = f(0, sum(1) + peephole(1, j) * cell[j]);
                    hidden[j] = o * f(2, cell[j]);
                }
            }
        }
    }

    fn check_in<T: Number>(&self, tolerance: f64) {
        let inputs = self.tensors::<T>();
        let want = self.want::<T>(&inputs);
        let inputs = inputs.each_ref().map(Option::as_ref);
        for outputs in 1..=want.len() {
            check_optional(self.op.clone(), &inputs, &want[..outputs], tolerance);
        }
    }

    fn want<T: Number>(&self, inputs: &[Option<Tensor>; 8]) -> Vec<Tensor> {
        let (d, h, _) = self.extents();
        let (steps, batch) = (self.steps, self.batch);
        let (y, state) = match self.op.batch_first {
            false => ([steps, d, batch, h], [d, batch, h]),
            true => ([batch, steps, d, h], [batch, d, h]),
        };
        let [values, hidden, cell] = self.reference(inputs).map(|v| v.into_iter().map(T::from_f64).collect::<Vec<T>>());
        let mut want = vec![Tensor::new(&y, &values).unwrap(), Tensor::new(&state, &hidden).unwrap()];
        if self.op.kind == CellKind::Lstm {
            want.push(Tensor::new(&state, &cell).unwrap());
        }
        want
    }

    fn check(&self) {
        self.check_in::<f32>(5e-6);
        let op = Recurrent { batch_first: true, ..self.op.clone() };
        Case { op, ..self.clone() }.check_in::<f32>(5e-6);
    }
}

fn apply(function: Function, x: f64) -> f64 {
    use crate::cpu::Activation::*;
    let wide = |x: f32| f64::from(x);
    match function {
        Function::Common(Sigmoid) => 1.0 / (1.0 + (-x).exp()),
        Function::Common(Tanh) => x.tanh(),
        Function::Common(Relu) => x.max(0.0),
        Function::Common(LeakyRelu { alpha }) => if x < 0.0 { wide(alpha) * x } else { x },
        Function::Common(Elu { alpha }) => if x < 0.0 { wide(alpha) * x.exp_m1() } else { x },
        Function::Common(HardSigmoid { alpha, beta }) => (wide(alpha) * x + wide(beta)).clamp(0.0, 1.0),
        Function::Common(Softplus) => x.exp().ln_1p(),
        Function::Common(other) => panic!("{other:?}"),
        Function::Affine { alpha, beta } => wide(alpha) * x + wide(beta),
        Function::ThresholdedRelu { alpha } => if x >= wide(alpha) { x } else { 0.0 },
        Function::ScaledTanh { alpha, beta } => wide(alpha) * (wide(beta) * x).tanh(),
        Function::Softsign => x / (1.0 + x.abs()),
    }
}

#[test]
fn every_cell_and_direction() {
    for kind in KINDS {
        for direction in DIRECTIONS {
            for hidden in [1, 5, 16, 19, 32] {
                let op = Recurrent { direction, ..layer(kind, hidden) };
                Case::new(op.clone(), 4, 1, 3).check();
                Case::full(op.clone(), 3, 2, 7).check();
                Case { lengths: Some(vec![2, 0, 5, 1]), ..Case::full(op.clone(), 5, 4, 2) }.check();
            }
        }
    }
}

#[test]
fn attributes() {
    for kind in KINDS {
        for hidden in [6, 16] {
            let plain = Recurrent { direction: Direction::Both, ..layer(kind, hidden) };
            Case::full(Recurrent { clip: 0.3, ..plain.clone() }, 4, 2, 5).check();
            Case::full(Recurrent { linear_before_reset: true, ..plain.clone() }, 4, 2, 5).check();
            Case::full(Recurrent { input_forget: true, ..plain.clone() }, 4, 2, 5).check();
        }
    }
}

#[test]
fn every_function() {
    use crate::cpu::Activation::*;
    let mut functions: Vec<Function> = vec![
        Function::Affine { alpha: 0.5, beta: 0.1 },
        Function::ThresholdedRelu { alpha: 0.2 },
        Function::ScaledTanh { alpha: 1.2, beta: 0.7 },
        Function::Softsign,
    ];
    let common = [Relu, LeakyRelu { alpha: 0.1 }, Elu { alpha: 0.8 }, HardSigmoid { alpha: 0.2, beta: 0.5 }, Softplus];
    functions.extend(common.map(Function::Common));
    for kind in KINDS {
        let count = kind.functions().len() * 2;
        for start in 0..functions.len() {
            let functions = functions.iter().cycle().skip(start).take(count).copied().collect();
            let op = Recurrent { direction: Direction::Both, functions, ..layer(kind, 7) };
            // A threshold may fall on either side of a rounding error.
            Case::full(op, 1, 2, 4).check();
        }
    }
}

/// Large enough for a phase per step.
#[test]
fn steps_in_phases() {
    for (kind, hidden, batch) in [(CellKind::Lstm, 256, 1), (CellKind::Gru, 160, 4), (CellKind::Rnn, 192, 9)] {
        for linear_before_reset in [false, true] {
            let op = Recurrent { linear_before_reset, direction: Direction::Both, ..layer(kind, hidden) };
            let case = Case::full(op, 3, batch, 20);
            case.check_in::<f32>(1e-5);
            Case { lengths: Some((0..batch as i32).map(|i| i % 4).collect()), ..case }.check_in::<f32>(1e-5);
        }
    }
}

#[test]
fn many_sequences() {
    for kind in KINDS {
        Case::full(layer(kind, 24), 30, 33, 17).check_in::<f32>(1e-5);
    }
}

#[test]
fn empty_extents() {
    for kind in KINDS {
        Case::full(layer(kind, 4), 0, 2, 3).check();
        Case::full(layer(kind, 4), 3, 0, 3).check();
        Case::full(layer(kind, 4), 3, 2, 0).check();
    }
}

#[test]
fn extents_without_elements_may_be_large() {
    let none = |dims: &[usize]| Tensor::new::<f32>(dims, &[]).unwrap();
    let r = Random::new(1).tensor(&[1, 5, 20]);
    for (steps, batch) in [(1 << 40, 1 << 12), (1 << 40, 0), (1 << 60, 1)] {
        let (x, w) = (none(&[steps, batch, 0]), none(&[1, 0, 20]));
        let inputs = [&x, &w, &r].map(Some);
        let done = evaluate(&layer(CellKind::Lstm, 5).into(), &inputs, Isa::detect());
        assert_eq!(done.is_ok(), batch == 0);
    }
}

#[test]
fn packed_weights() {
    for (kind, hidden) in [(CellKind::Lstm, 20), (CellKind::Gru, 16)] {
        let case = Case::full(Recurrent { direction: Direction::Both, ..layer(kind, hidden) }, 3, 2, 6);
        let inputs = case.tensors::<f32>();
        let want = case.want::<f32>(&inputs);
        let stored: Vec<Option<Tensor>> = inputs
            .iter()
            .enumerate()
            .map(|(i, t)| {
                t.clone().map(|t| match i {
                    1 | 2 => Tensor { data: pack(&t, Layout::Panels).unwrap(), ..t },
                    _ => t,
                })
            })
            .collect();
        let stored: Vec<Option<&Tensor>> = stored.iter().map(Option::as_ref).collect();
        let layouts = [Layout::RowMajor, Layout::Panels, Layout::Panels];
        check_stored(case.op.clone(), &stored, &layouts, &want, 5e-6);
    }
}

#[test]
fn half_precision() {
    for kind in KINDS {
        let op = Recurrent { direction: Direction::Both, ..layer(kind, 9) };
        let case = Case { lengths: Some(vec![2, 3]), ..Case::full(op, 3, 2, 5) };
        case.check_in::<f16>(2e-3);
        case.check_in::<bf16>(1.6e-2);
    }
}

#[test]
fn symbolic_shapes() {
    let [t, b] = [0, 1].map(|i| Dim::sym(Sym(i)));
    let ty = |dims: &[Dim]| TensorType::new(DType::F32, Shape::new(dims).unwrap());
    let x = ty(&[t.clone(), b.clone(), Dim::Fixed(3)]);
    let (w, r) = (ty(&[1i64, 3, 20].map(Dim::from)), ty(&[1i64, 5, 20].map(Dim::from)));
    let out = layer(CellKind::Lstm, 5).infer(&Inputs::new(&[Some(&x), Some(&w), Some(&r)])).unwrap();
    assert_eq!(out[0].shape, ty(&[t, Dim::Fixed(1), b.clone(), Dim::Fixed(5)]).shape);
    assert_eq!(out[2].shape, ty(&[Dim::Fixed(1), b, Dim::Fixed(5)]).shape);
}

#[test]
fn refuses_what_does_not_fit() {
    let t = |dims: &[usize]| Random::new(1).tensor(dims);
    let (x, w, r) = (t(&[4, 2, 3]), t(&[1, 3, 20]), t(&[1, 5, 20]));
    let op = || layer(CellKind::Lstm, 5);
    assert!(infer_error(op(), &[&t(&[4, 2]), &w, &r]).contains("3 dimensions"));
    assert!(infer_error(op(), &[&x, &t(&[1, 20, 3]), &r]).contains("W [1, 20, 3] is not [1, 3, 20]"));
    assert!(infer_error(op(), &[&x, &w, &t(&[1, 5, 5])]).contains("R "));
    assert!(infer_error(op(), &[&x, &w, &r, &t(&[1, 20])]).contains("bias"));
    let wide = Random::new(1).tensor_of(&[4, 2, 3], |_| 0f64);
    assert!(infer_error(op(), &[&wide, &wide, &wide]).contains("f64"));
    let types = [&x, &w, &r, &t(&[1, 2, 5])].map(|x| x.ty());
    let inputs = [Some(&types[0]), Some(&types[1]), Some(&types[2]), None, None, None, Some(&types[3])];
    assert!(layer(CellKind::Gru, 5).infer(&Inputs::new(&inputs)).unwrap_err().to_string().contains("not LSTM"));
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    for kind in KINDS {
        for direction in DIRECTIONS {
            let functions = [
                Function::Affine { alpha: 1.0, beta: 2.0 },
                Function::ThresholdedRelu { alpha: 3.0 },
                Function::ScaledTanh { alpha: 4.0, beta: 5.0 },
                Function::Softsign,
                Function::TANH,
                Function::Common(crate::cpu::Activation::None),
            ];
            let functions = functions[..kind.functions().len() * direction.count()].to_vec();
            let plain = Recurrent { direction, ..layer(kind, 8) };
            crate::ops::testing::round_trip(plain.clone());
            let clip = 3.0;
            let op = Recurrent { functions, clip, linear_before_reset: true, input_forget: true, batch_first: true, ..plain };
            crate::ops::testing::round_trip(op);
        }
    }
}
