//! Files that are not models, are damaged, or are made to exhaust the reader.

use super::*;
use infer::error::Status;

/// A model with something of everything.
fn rich() -> ModelProto {
    let tensor = TensorProto {
        name: "w".into(),
        dims: vec![4],
        data_type: DataType::Float as i32,
        raw_data: Some(vec![0u8; 16].into()),
        ..Default::default()
    };
    let branch = |op: &str| graph(&[], &["b"], vec![node(op, &["x", "w"], &["b"]).with(int("axis", -1))]);
    let choose = node("If", &["c"], &["h"])
        .with(subgraph("then_branch", branch("Add")))
        .with(subgraph("else_branch", branch("Mul")));
    let mut g = graph(&["x", "c"], &["y"], vec![choose, node("f", &["h"], &["y"]).in_domain("f")]);
    g.initializer = vec![tensor];
    g.input.push(value("dyn", &[DimensionValue::Param("batch".into()), DimensionValue::Value(3)]));
    let function = FunctionProto {
        name: "f".into(),
        domain: "f".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![node("Relu", &["a"], &["b"])],
        opset_import: vec![opset("", 18)],
        ..Default::default()
    };
    ModelProto { functions: vec![function], opset_import: vec![opset("", 20), opset("f", 1)], ..model(g) }
}

#[test]
fn what_is_not_a_model() {
    let status = |bytes: &[u8]| Model::from_bytes(bytes.to_vec()).unwrap_err().status();
    assert_eq!(status(b""), Status::Format);
    assert_eq!(status(b"just text, nothing else\n"), Status::Format);
    assert_eq!(status(&[0xff; 100]), Status::Format);
    assert_eq!(status(b"\x08\x0a"), Status::Format); // an IR version and nothing else
    let no_version = ModelProto { ir_version: 0, ..rich() };
    assert_refused(&no_version, &["IR version"]);
    let newer = ModelProto { ir_version: 15, ..rich() };
    assert_eq!(refusal(&newer).status(), Status::Version);
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Model::open(&folder.path().join("absent.onnx")).unwrap_err();
    assert_eq!(missing.status(), Status::Io);
    assert!(missing.message().contains("absent.onnx"));
    assert!(Model::open(folder.path()).is_err());
    let empty = folder.path().join("empty.onnx");
    std::fs::write(&empty, b"").unwrap();
    let error = Model::open(&empty).unwrap_err();
    assert!(error.message().contains("empty.onnx") && error.message().contains("the file is empty"));
}

/// A cut may leave a shorter legal message; what matters is that nothing panics and nothing is read past the end.
#[test]
fn every_truncation() {
    let bytes = rich().encode_to_vec();
    load(&rich()).expect("the whole model is legal");
    for len in 0..bytes.len() {
        if let Err(error) = Model::from_bytes(bytes[..len].to_vec()) {
            assert_ne!(error.status(), Status::Internal, "{error}");
        }
    }
}

#[test]
fn every_byte_changed() {
    let bytes = rich().encode_to_vec();
    for at in 0..bytes.len() {
        for mask in [0x01, 0x02, 0x08, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= mask;
            if let Err(error) = Model::from_bytes(changed) {
                assert_ne!(error.status(), Status::Internal, "{error}");
            }
        }
    }
}

/// Encodes a field with a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encode_length_delimiter(content.len(), &mut bytes).unwrap();
    bytes.extend(content);
    bytes
}

#[test]
fn a_flood_of_messages_is_refused_before_it_is_decoded() {
    let nodes = field(1, b"").repeat(3_000_000);
    let error = Model::from_bytes(field(7, &nodes)).unwrap_err();
    assert_eq!(error.status(), Status::NoMemory);
    let names = field(1, &field(1, b"").repeat(40_000_000));
    assert_eq!(Model::from_bytes(field(7, &names)).unwrap_err().status(), Status::NoMemory);
}

#[test]
fn deep_nesting_is_refused() {
    let mut types = vec![];
    for _ in 0..10_000 {
        types = field(4, &field(1, &types));
    }
    let error = Model::from_bytes(field(7, &field(11, &field(2, &types)))).unwrap_err();
    assert_eq!(error.status(), Status::Unsupported);
    assert!(error.message().contains("deep"));
    let nested = |levels: usize| {
        let innermost = graph(&[], &["x"], vec![]);
        (0..levels).fold(innermost, |inner, _| {
            graph(&[], &["y"], vec![node("If", &["x"], &["y"]).with(subgraph("then_branch", inner))])
        })
    };
    let wrap = |levels: usize| {
        let mut g = nested(levels);
        g.input = vec![value("x", &[])];
        model(g)
    };
    load(&wrap(25)).expect("graphs may be nested");
    assert_refused(&wrap(40), &["deep"]);
}

/// Lengths of up to 64 bits, groups and unknown wire types.
#[test]
fn malformed_fields() {
    let long = [vec![0x3a], vec![0xff; 9], vec![0x01]].concat();
    let endless = [vec![0x3a], vec![0xff; 11]].concat();
    for bytes in [long, endless, vec![0x3b], vec![0x3e, 0], vec![0x3f, 0], vec![0x39, 0, 0], vec![0x3d]] {
        let error = Model::from_bytes(bytes).unwrap_err();
        assert_eq!(error.status(), Status::Format, "{error}");
    }
    // A field of a known number and an unexpected kind.
    assert_eq!(Model::from_bytes(vec![0x38, 1]).unwrap_err().status(), Status::Format);
}

#[test]
fn unknown_fields_are_skipped() {
    let mut bytes = rich().encode_to_vec();
    bytes.extend([0xf8, 0x7f, 5]); // number 2047
    bytes.extend(field(15, b"whatever"));
    Model::from_bytes(bytes).unwrap();
}
