//! Files of `torch.save` that want something run, or lie.

use std::time::Instant;

use tensor_files::{pickle, read_torch};

use crate::golden;
use crate::{
    writer::Pickle,
    zipped::{torch_file, zip, zip_of},
};

const NUMBERS: [u8; 24] = [0; 24];

/// What is said of a file with this pickle and a storage `0` of six float32 numbers.
fn refused(pickle: &[u8]) -> String {
    told(&torch_file(pickle, &[("0", &NUMBERS)]))
}

fn told(file: &[u8]) -> String {
    let damage = read_torch(file).unwrap_err();
    assert!(!damage.hint.is_empty() && !damage.problem.chars().any(char::is_control), "{damage:?}");
    format!("{} / {}", damage.problem, damage.hint)
}

fn map_of_one(value: impl FnOnce(Pickle) -> Pickle) -> Vec<u8> {
    value(Pickle::new().map().text("weight")).raw(b"s").end()
}

#[test]
fn what_real_torch_writes_besides_weights() {
    for (file, expected) in [
        ("os_system", "the pickle wants `posix.system`: refused"),
        ("eval", "wants `__builtin__.eval`: refused"),
        ("getattr", "wants `__builtin__.getattr`: refused"),
        ("module", "wants `torch.nn.modules.linear.Linear`: refused"),
        ("quantized", "wants `torch._utils._rebuild_qtensor`: refused"),
        ("sparse", "wants `torch._utils._rebuild_sparse_tensor`: refused"),
        ("nested", "holds a map named `state_dict` where a tensor should be / save the model's weights alone"),
        ("scalar", "holds a value named `scale` where a tensor should be"),
        ("list", "holds no map of tensors by name"),
        ("number", "holds a tensor whose name is no text"),
        ("legacy", "is in the format that torch wrote before 1.6, which is not read / load it with torch.load"),
        ("script", "is a program of TorchScript, not weights"),
    ] {
        let bytes = std::fs::read(golden("bad").join(format!("{file}.bin"))).unwrap();
        let text = told(&bytes);
        assert!(text.contains(expected), "{file}: {text}");
        if text.contains("refused") {
            assert!(text.contains("nothing of a file is run") && text.contains("model.safetensors"), "{text}");
        }
    }
    // Read as far as its values, which are not.
    for (file, expected) in [("repeated", "repeats the numbers"), ("float64", "is stored as F64")] {
        let bytes = std::fs::read(golden("bad").join(format!("{file}.bin"))).unwrap();
        let damage = read_torch(&bytes).unwrap()["weight"].parts(&bytes, 1 << 18).unwrap_err();
        assert!(damage.problem.contains(expected), "{file}: {damage:?}");
    }
}

#[test]
fn names_that_are_not_on_the_list_are_refused_however_they_are_written() {
    let end = b"X\x01\0\0\0x\x85R.";
    let named = |pickle: Pickle| refused(&pickle.raw(end).0);
    assert!(named(Pickle::new().global("os", "system")).contains("wants `os.system`: refused (at byte 2)"));
    assert!(named(Pickle::new().text("os").text("system").raw(&[0x93])).contains("wants `os.system`: refused"));
    assert!(named(Pickle::new().raw(b"(ios\nsystem\n")).contains("wants `os.system`: refused"));
    assert!(named(Pickle::new().global("collections", "OrderedDict.fromkeys")).contains("refused"));
    assert!(named(Pickle::new().global("torch", "load")).contains("wants `torch.load`: refused"));
    assert!(named(Pickle::new().global("torch\u{1b}[2J", "x\0")).contains(r"wants `torch\u{1b}[2J.x\0`: refused"));
    let long = "x".repeat(1000);
    assert!(named(Pickle::new().global("os", &long)).len() < 500);
    assert!(named(Pickle::new().text("os").int(3).raw(&[0x93])).contains("by something that is no text"));
    // Instances, extensions, names by protocol 0, and what is no instruction at all.
    for instruction in [0x81, 0x82, 0x92, b'P', b'o', b'I', b'F', 0xff] {
        let text = refused(&Pickle::new().raw(&[instruction, 0, 0, 0, 0]).end());
        assert!(text.contains(&format!("has the instruction 0x{instruction:02x}")), "{text}");
    }
}

#[test]
fn calls_of_known_names_with_anything_else_are_refused() {
    let dict = |p: Pickle| p.global("collections", "OrderedDict");
    let rebuild = |p: Pickle| p.global("torch._utils", "_rebuild_tensor_v2");
    let cases: Vec<(&str, Pickle)> = vec![
        ("calls OrderedDict with 1 arguments", dict(Pickle::new()).raw(b"]\x85R")),
        ("calls RebuildTensor with 0 arguments", rebuild(Pickle::new()).raw(b")R")),
        ("calls Storage(F32) with 1", Pickle::new().global("torch", "FloatStorage").int(1 << 40).raw(b"\x85R")),
        ("calls something that is no function", Pickle::new().text("system").raw(b")R")),
        ("with something that is no tuple", dict(Pickle::new()).text("x").raw(b"R")),
        (
            "parameter of something that is no tensor",
            Pickle::new().global("torch._utils", "_rebuild_parameter").raw(b"NNN\x87R"),
        ),
        ("sets attributes of something that is no map", Pickle::new().tensor("0", 6, 0, &[6], &[1]).raw(b"}b")),
        ("sets attributes of something that is no map", Pickle::new().storage("FloatStorage", "0", 6).raw(b"}b")),
        ("sets attributes of something that is no map", dict(Pickle::new()).raw(b"}b")),
        ("sets attributes of something that is no map", Pickle::new().map().raw(b"]b")),
        ("appends to something that is no list", Pickle::new().map().raw(b"Na")),
        ("puts entries into something that is no map", Pickle::new().raw(b"]NNs")),
        ("a key without a value", Pickle::new().raw(b"}(Nu")),
        ("empty stack", Pickle::new().raw(b"R")),
        ("empty stack", Pickle::new().raw(b"N(0")),
        ("a mark that is not there", Pickle::new().raw(b"t")),
        ("never remembered", Pickle::new().raw(b"h\x07")),
        ("storage by something that is no tuple", Pickle::new().text("0").raw(b"Q")),
        (
            "not torch's",
            Pickle::new()
                .raw(b"(")
                .text("storage")
                .storage("FloatStorage", "0", 6)
                .text("0")
                .text("cpu")
                .int(6)
                .raw(b"tQ"),
        ),
        (
            "not torch's",
            Pickle::new()
                .raw(b"(")
                .text("module")
                .global("torch", "FloatStorage")
                .text("0")
                .text("cpu")
                .int(6)
                .raw(b"tQ"),
        ),
        (
            "not torch's",
            Pickle::new()
                .raw(b"(")
                .text("storage")
                .global("torch", "FloatStorage")
                .storage("FloatStorage", "0", 6)
                .text("cpu")
                .int(6)
                .raw(b"tQ"),
        ),
        ("shorter than nothing", Pickle::new().storage("FloatStorage", "0", -1)),
        ("something that is no storage", rebuild(Pickle::new()).raw(b"(NK\0))N)tR")),
        ("below zero", Pickle::new().tensor("0", 6, -1, &[6], &[1])),
        ("below zero", Pickle::new().tensor("0", 6, 5, &[6], &[-1])),
        ("below zero", Pickle::new().tensor("0", 6, 0, &[-6], &[1])),
        ("more than 64 dimensions", Pickle::new().tensor("0", 6, 0, &[1; 65], &[1; 65])),
        ("more than eight bytes", Pickle::new().raw(&[0x8a, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1])),
    ];
    for (expected, pickle) in cases {
        let text = refused(&pickle.end());
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn views_outside_of_their_storage_are_refused() {
    let tensor = |length, offset, shape: &[i64], strides: &[i64]| {
        map_of_one(|pickle| pickle.tensor("0", length, offset, shape, strides))
    };
    assert_eq!(read_torch(&torch_file(&tensor(6, 1, &[2, 2], &[3, 1]), &[("0", &NUMBERS)])).unwrap().len(), 1);
    for (length, offset, shape, strides) in [
        (6, 1, [2, 3], [3, 1]),
        (6, 0, [3, 3], [3, 1]),
        (5, 0, [2, 3], [3, 1]),
        (6, 0, [2, 2], [i64::MAX, 1]),
        (6, 0, [i64::MAX, i64::MAX], [i64::MAX, i64::MAX]),
        (6, i64::MAX, [1, 1], [1, 1]),
        (6, 7, [0, 1], [1, 1]),
    ] {
        let text = refused(&tensor(length, offset, &shape, &strides));
        assert!(
            text.contains("the tensor `weight` of shape") && text.contains("does not lie in its storage"),
            "{text}"
        );
    }
    assert!(refused(&tensor(7, 0, &[2, 3], &[3, 1])).contains("has 24 bytes, and should hold 7 numbers of 4 bytes"));
    assert!(refused(&tensor(i64::MAX, 0, &[2, 3], &[3, 1])).contains("should hold 9223372036854775807 numbers"));
    let other = map_of_one(|pickle| pickle.tensor("../../etc/passwd", 6, 0, &[6], &[1]));
    assert!(refused(&other).contains("the storage `../../etc/passwd` is not there"));
    let twice = Pickle::new().map().text("w").tensor("0", 6, 0, &[6], &[1]).raw(b"s");
    let twice = twice.text("w").tensor("0", 6, 0, &[6], &[1]).raw(b"s").end();
    assert!(refused(&twice).contains("two tensors named `w`"));
    let repeated = torch_file(&tensor(6, 0, &[1 << 60, 1], &[0, 1]), &[("0", &NUMBERS)]);
    let stored = &read_torch(&repeated).unwrap()["weight"];
    assert!(stored.parts(&repeated, 1 << 18).unwrap_err().problem.contains("repeats the numbers"));
}

#[test]
fn bombs_cost_no_more_than_their_bytes() {
    let begin = Instant::now();
    // Each list holds the one before ten times: 10^5000 values if they were copied.
    let mut bomb = Pickle::new().raw(b"]q\0");
    for _ in 0..5000 {
        bomb = bomb.raw(b"](h\0h\0h\0h\0h\0h\0h\0h\0h\0h\0eq\0");
    }
    assert!(refused(&bomb.clone().end()).contains("holds no map of tensors"));
    assert!(pickle::read(&bomb.end()).unwrap().values.len() < 6000);
    // A list that holds itself, a map that is its own key, and brackets without end.
    assert!(refused(&Pickle::new().raw(b"]q\0h\0a").end()).contains("holds no map of tensors"));
    assert!(refused(&Pickle::new().raw(b"}q\0h\0h\0s").end()).contains("whose name is no text"));
    let mut deep = Pickle::new().raw(&vec![b')'; 200_000]);
    deep = deep.raw(&vec![0x85; 200_000]);
    assert!(refused(&deep.end()).contains("holds no map of tensors"));
    assert!(refused(&Pickle::new().raw(&vec![b'('; 300_000]).end()).contains("empty stack"));
    assert!(refused(&Pickle::new().raw(&b"N0".repeat(2_000_000)).end()).contains("more than 2097152 instructions"));
    assert!(refused(&Pickle::new().raw(&vec![b'N'; 70 << 20]).end()).contains("bytes, 67108864 are read"));
    // A tensor's shape of which each tensor makes a copy.
    let mut shapes = Pickle::new().raw(b"(").raw(&vec![b'N'; 1_000_000]).raw(b"tq\x09");
    for _ in 0..1000 {
        shapes = shapes.global("torch._utils", "_rebuild_tensor_v2").raw(b"(");
        shapes = shapes.storage("FloatStorage", "0", 6).raw(b"K\0h\x09h\x09\x89NtR");
    }
    assert!(refused(&shapes.end()).contains("more than 64 dimensions"));
    // Lengths that lie.
    for lie in
        [b"X\xff\xff\xff\xff".as_slice(), &[0x8d, 255, 255, 255, 255, 255, 255, 255, 255], &[0x8c, 200], &[0x8a, 255]]
    {
        assert!(refused(&Pickle::new().raw(lie).end()).contains("ends within an instruction"));
    }
    assert!(refused(&Pickle::new().raw(b"j\xff\xff\xff\xff").end()).contains("never remembered"));
    assert!(refused(&Pickle::new().raw(b"Nr\xff\xff\xff\xff").end()).contains("holds no map"));
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
}

#[test]
fn zips_that_lie_are_refused() {
    let good = map_of_one(|pickle| pickle.tensor("0", 6, 0, &[2, 3], &[3, 1]));
    let entries: [(&str, &[u8]); 2] = [("m/data.pkl", &good), ("m/data/0", &NUMBERS)];
    assert_eq!(read_torch(&zip(&entries)).unwrap().len(), 1);
    assert!(told(&zip_of(&entries, 8, 0)).contains("holds the entry `data.pkl` packed"));
    assert!(told(&zip_of(&entries, 0, 1)).contains("is a damaged zip"));
    assert!(told(&zip(&[entries[0], entries[1], entries[1]])).contains("stands there twice"));
    assert!(told(&zip(&[entries[0], entries[1], ("n/data.pkl", &good)])).contains("two pickles"));
    assert!(told(&zip(&[("data.pkl", &good), entries[1]])).contains("zip without `data.pkl`"));
    assert!(told(&zip(&[("x/word/document.xml", b"<x/>")])).contains("zip without `data.pkl`"));
    assert!(told(&zip(&[entries[0], entries[1], ("m/byteorder", b"big")])).contains("highest byte first"));
    assert!(told(b"").contains("does not begin as a zip does"));
    assert!(told(b"PK\x03\x04").contains("is a damaged zip"));
    assert!(told(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n").contains("pointer of Git LFS"));
    assert!(told(b"\n<!DOCTYPE html><html>").contains("is a web page"));
}

#[test]
fn every_cut_and_every_changed_byte_is_survived() {
    let file = std::fs::read(golden("model/transposed/pytorch_model.bin")).unwrap();
    let read = |bytes: &[u8]| match read_torch(bytes) {
        Err(damage) => {
            assert!(!damage.problem.is_empty() && !damage.hint.is_empty());
            false
        }
        Ok(tensors) => {
            for stored in tensors.values() {
                let Ok(parts) = stored.parts(bytes, 1 << 18) else { continue };
                let given: usize = parts.map(|part| part.unwrap().bytes.len()).sum();
                assert_eq!(Some(given), stored.elements().map(|count| count * stored.dtype.size().unwrap()));
            }
            true
        }
    };
    assert!(read(&file));
    for length in (0..file.len()).step_by(7).chain(file.len() - 30..file.len()) {
        assert!(!read(&file[..length]), "cut to {length} bytes");
    }
    let mut changed = file.clone();
    for at in 0..file.len() {
        for bits in [0x01, 0x80, 0xff] {
            changed[at] = file[at] ^ bits;
            read(&changed);
        }
        changed[at] = file[at];
    }
}
