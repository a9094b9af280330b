use super::*;
use crate::cpu::isa::Isa;
use crate::ops::evaluate::evaluate;

fn fail(dims: &[Option<u32>]) -> Fail {
    Fail { message: "no such shape".into(), dtype: DType::F32, dims: dims.to_vec() }
}

#[test]
fn fails_when_it_runs_and_no_sooner() {
    for dims in [vec![], vec![Some(2), Some(0)], vec![Some(3), None]] {
        let op = fail(&dims);
        let ty = &op.infer(&Inputs::new(&[])).unwrap()[0];
        assert_eq!((ty.dtype, ty.shape.rank()), (DType::F32, dims.len()));
        let e = evaluate(&op.into(), &[], Isa::detect()).unwrap_err();
        assert!(e.to_string().contains("no such shape"), "{e}");
    }
}

#[cfg(feature = "write")]
#[test]
fn attributes_survive_a_file() {
    crate::ops::testing::round_trip(fail(&[]));
    crate::ops::testing::round_trip(fail(&[Some(3), None, Some(0)]));
}
