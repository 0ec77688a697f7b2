//! Damaged files: one clear error, never a panic, never memory that the file does not justify.

use std::path::Path;

use orion_kernels::memory::peak_resident_bytes;
use orion_runtime::weights::{WeightSource, gguf, llama2c, open, read_f32, safetensors};
use proptest::prelude::*;

use crate::fixture::{
    RawGguf, file, gguf_error, golden_bytes, message, safetensors_error, safetensors_file,
};

const DAMAGED: &str = "; the file is damaged or incomplete: download or convert it again";

fn assert_gguf(bytes: &[u8], expected: &str) {
    assert_eq!(gguf_error(bytes), format!("{expected}{DAMAGED}"));
}

fn assert_safetensors(head: &str, data: usize, expected: &str) {
    assert_eq!(safetensors_error(&safetensors_file(head, data)), format!("{expected}{DAMAGED}"));
}

#[test]
fn a_truncated_gguf_is_refused_at_every_length() {
    let bytes = golden_bytes("types.gguf");
    // The last tensor, two blocks of q6_k, is followed by padding that nobody misses.
    let padding = 2 * 210usize;
    let needed = bytes.len() - (padding.next_multiple_of(32) - padding);
    for len in 0..needed {
        assert!(gguf::parse(Path::new("x"), &bytes[..len]).is_err(), "{len} bytes");
    }
    assert!(gguf::parse(Path::new("x"), &bytes[..needed]).is_ok());
}

#[test]
fn a_truncated_gguf_header_names_the_offset() {
    assert_gguf(b"GGUF\x03\0", "byte 4: version takes 4 bytes and the file ends after 2");
    assert_gguf(b"", "byte 0: magic takes 4 bytes and the file ends after 0");
    let mut bytes = RawGguf::default().key(b"k", 8, &7u64.to_le_bytes()).bytes(0);
    bytes.truncate(24 + 8 + 1 + 4 + 8 + 3);
    assert_gguf(&bytes, "byte 37: the value of `k` is 7, too many for the 3 bytes that follow");
}

#[test]
fn versions_and_byte_orders_that_are_not_read_say_what_to_do() {
    let with_version = |version: [u8; 4]| {
        let mut bytes = golden_bytes("types.gguf");
        bytes[4..8].copy_from_slice(&version);
        gguf_error(&bytes)
    };
    assert_eq!(
        with_version([0, 0, 0, 3]),
        "byte 4: big-endian GGUF is not supported; convert the model again for a little-endian machine"
    );
    assert_eq!(
        with_version([1, 0, 0, 0]),
        "byte 4: GGUF version 1 is not supported; convert the model again; versions 2 and 3 are read"
    );
    assert!(with_version([9, 0, 0, 0]).starts_with("byte 4: GGUF version 9 is not supported"));
}

#[test]
fn counts_beyond_the_file_are_refused_before_memory_is_taken() {
    let huge = u64::MAX.to_le_bytes();
    let array = |tag: u32, len: [u8; 8]| [&tag.to_le_bytes()[..], &len].concat();
    let mut tensors = RawGguf::default().bytes(0);
    tensors[8..16].copy_from_slice(&(1u64 << 60).to_le_bytes());
    let rest = tensors.len() - 16;
    assert_gguf(
        &tensors,
        &format!(
            "byte 8: number of tensors is {}, too many for the {rest} bytes that follow",
            1u64 << 60
        ),
    );
    for tag in 0..=12 {
        let bytes = RawGguf::default().key(b"k", 9, &array(tag, huge)).bytes(64);
        assert!(
            gguf_error(&bytes).starts_with("byte 41: the value of `k` is 18446744073709551615")
        );
        let many = RawGguf::default().key(b"k", 9, &array(tag, 1000u64.to_le_bytes())).bytes(64);
        assert!(gguf::parse(Path::new("x"), &many).is_err());
    }
    let long_name = RawGguf::default().key(&vec![b'a'; 70_000], 0, &[0]).bytes(0);
    assert!(
        gguf_error(&long_name).contains("a metadata key has 1 to 65535 bytes, this one has 70000")
    );
    assert!(peak_resident_bytes().is_none_or(|bytes| bytes < 400 << 20));
}

#[test]
fn metadata_that_breaks_a_rule_names_the_place() {
    let raw = RawGguf::default;
    assert_gguf(
        &raw().key(b"k", 13, &[0]).bytes(0),
        "byte 33: the value of `k` has type 13; types are 0 to 12",
    );
    assert_gguf(
        &raw().key(b"k", 7, &[2]).bytes(0),
        "byte 37: the value of `k` is true or false, 1 or 0, not 2",
    );
    assert_gguf(
        &raw().key(b"a\xff", 0, &[1]).bytes(0),
        "byte 33: a metadata key is not UTF-8 text",
    );
    assert_gguf(
        &raw().key(b"k", 0, &[1]).key(b"k", 0, &[1]).bytes(0),
        "byte 38: key `k` occurs twice",
    );
    let nested = [9u32.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat().repeat(100);
    assert!(
        gguf_error(&raw().key(b"k", 9, &nested).bytes(0)).contains("nests arrays more than 4 deep")
    );
    for alignment in [0u32, 24] {
        assert_gguf(
            &raw().key(b"general.alignment", 4, &alignment.to_le_bytes()).bytes(0),
            &format!("key `general.alignment`: the alignment is a power of two, not {alignment}"),
        );
    }
}

#[test]
fn tensors_that_break_a_rule_are_named() {
    let raw = RawGguf::default;
    let good = raw().tensor(b"a", &[4], 0, 0).tensor(b"b", &[64, 2], 8, 32);
    assert!(gguf::parse(Path::new("x"), &good.bytes(32 + 136)).is_ok());
    let len = good.bytes(0).len();
    assert_gguf(
        &good.bytes(32 + 135),
        &format!(
            "tensor `b`: its 136 bytes start at byte {}, and the file has {} bytes",
            len + 32,
            len + 167
        ),
    );
    assert_gguf(
        &raw().tensor(b"a", &[4], 0, 0).tensor(b"a", &[4], 0, 32).bytes(64),
        "tensor `a`: the name occurs twice",
    );
    let start = raw().tensor(b"a", &[16], 0, 0).tensor(b"b", &[4], 0, 32).bytes(0).len();
    assert_gguf(
        &raw().tensor(b"a", &[16], 0, 0).tensor(b"b", &[4], 0, 32).bytes(64),
        &format!(
            "tensor `b`: its data starts at byte {}, inside tensor `a` which ends at byte {}",
            start + 32,
            start + 64
        ),
    );
    assert_gguf(
        &raw().tensor(b"a", &[4], 0, 8).bytes(64),
        "tensor `a`: offset 8 is no multiple of the alignment 32",
    );
    let far = raw().tensor(b"a", &[4], 0, u64::MAX - 31).bytes(64);
    assert!(gguf_error(&far).starts_with("tensor `a`: "));
    assert_gguf(
        &raw().tensor(b"a", &[33], 8, 0).bytes(64),
        "tensor `a`: q8_0 of shape [33]: rows are whole blocks of 32 and the size fits the address space",
    );
    let overflowing = raw().tensor(b"a", &[1 << 40, 1 << 40], 0, 0).bytes(64);
    assert!(gguf_error(&overflowing).starts_with("tensor `a`: f32 of shape"));
    assert_gguf(
        &raw().tensor(b"a", &[1, 1, 1, 1, 1], 0, 0).bytes(64),
        "tensor `a`: a tensor has at most 4 axes, this one has 5",
    );
    let unknown = gguf_error(&raw().tensor(b"blk.0.w", &[256], 23, 0).bytes(256));
    assert!(
        unknown.starts_with(
            "tensor `blk.0.w`: GGUF tensor type 23 is not supported; use a file in F32"
        )
    );
    let odd_name = gguf_error(&raw().tensor(b"a\x1b[31m\n", &[33], 8, 0).bytes(64));
    assert!(odd_name.starts_with("tensor `a\\u{1b}[31m\\n`: "), "{odd_name}");
}

#[test]
fn safetensors_heads_that_break_a_rule_name_the_tensor() {
    let one = |dtype: &str, shape: &str, start: u64, end: u64| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}}}"#)
    };
    assert!(
        safetensors::parse(Path::new("x"), &safetensors_file(&one("F32", "[2]", 0, 8), 8)).is_ok()
    );
    assert_safetensors(
        &one("F32", "[3]", 0, 8),
        8,
        "tensor `a`: F32 of shape [3] takes 12 bytes and data_offsets [0, 8] give 8",
    );
    let range =
        "have to start at 0, where the tensor before ends, and stay within the 8 bytes of data";
    for (start, end) in [(0, 12), (4, 12), (8, 0), (0, u64::MAX)] {
        assert_safetensors(
            &one("F32", "[2]", start, end),
            8,
            &format!("tensor `a`: data_offsets [{start}, {end}] {range}"),
        );
    }
    assert_safetensors(
        &one("F32", "[2]", 0, 8),
        9,
        "whole file: the tensors take 8 bytes of data and the file has 9",
    );
    let huge =
        safetensors_error(&safetensors_file(&one("F32", "[4294967296,4294967296]", 0, 8), 8));
    assert!(huge.starts_with("tensor `a`: the size of F32"), "{huge}");
    let tensor = r#"{"dtype":"F32","shape":[0],"data_offsets":[0,0]}"#;
    assert_safetensors(
        &format!(r#"{{"a":{tensor},"a":{tensor}}}"#),
        0,
        "tensor `a`: the name occurs twice",
    );
    let overlapping = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    assert!(
        safetensors_error(&safetensors_file(overlapping, 8))
            .starts_with("tensor `b`: data_offsets [4, 8]")
    );
    for head in
        ["{", "[]", "3", r#"{"a":3}"#, r#"{"a":{"dtype":"F33","shape":[],"data_offsets":[0,4]}}"#]
    {
        let text = safetensors_error(&safetensors_file(head, 4));
        assert!(text.starts_with("byte 8: the head is not valid: "), "{text}");
    }
    let mut not_text = safetensors_file(&one("F32", "[2]", 0, 8), 8);
    not_text[10] = 0xff;
    assert!(safetensors_error(&not_text).starts_with("byte 8: the head is not valid: "));
}

#[test]
fn a_safetensors_head_beyond_the_file_is_refused() {
    let bytes = golden_bytes("mixed.safetensors");
    for len in 0..bytes.len() {
        assert!(safetensors::parse(Path::new("x"), &bytes[..len]).is_err(), "{len} bytes");
    }
    assert_eq!(
        safetensors_error(&[0xff; 20]),
        format!(
            "byte 0: length of the head is 18446744073709551615, too many for the 12 bytes that follow{DAMAGED}"
        )
    );
    let deep = format!(r#"{{"__metadata__":{}}}"#, "[".repeat(100_000));
    assert!(safetensors_error(&safetensors_file(&deep, 0)).contains("the head is not valid"));
}

#[test]
fn llama2c_sizes_must_match_to_the_byte() {
    for name in ["llama2c_v0.bin", "llama2c_v1.bin"] {
        let bytes = golden_bytes(name);
        for len in 0..bytes.len() {
            assert!(llama2c::parse(Path::new("x"), &bytes[..len]).is_err(), "{len} bytes");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(
            message(&llama2c::parse(Path::new("x"), &longer).unwrap_err()),
            format!(
                "whole file: as a llama2.c checkpoint its header asks for {} bytes, the file has {}{DAMAGED}",
                bytes.len(),
                bytes.len() + 1
            )
        );
    }
}

#[test]
fn llama2c_headers_out_of_range_name_the_field() {
    let with_field = |field: usize, value: i32| {
        let mut bytes = golden_bytes("llama2c_v0.bin");
        bytes[4 * field..][..4].copy_from_slice(&value.to_le_bytes());
        message(&llama2c::parse(Path::new("x"), &bytes).unwrap_err())
    };
    let names =
        ["dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len"];
    for (field, name) in names.into_iter().enumerate() {
        for value in [0, i32::MAX, i32::MIN] {
            let text = with_field(field, value);
            let expected = format!(
                "byte {}: a llama2.c header has a {name} from 1 to 16777216 here, found {value}{DAMAGED}",
                4 * field
            );
            assert_eq!(text, expected);
        }
        assert!(with_field(field, 1 << 24).contains(
            if field < 5 && field != 1 && field != 2 && field != 0 {
                "is a multiple of"
            } else {
                "bytes, the file has"
            }
        ));
    }
    assert!(with_field(3, 3).starts_with("byte 0: dim 8 is a multiple of twice n_heads 3"));
    let mut version = golden_bytes("llama2c_v1.bin");
    version[4] = 2;
    assert_eq!(
        message(&llama2c::parse(Path::new("x"), &version).unwrap_err()),
        "byte 4: llama2.c checkpoint version 2 is not supported; export it again as version 0 or 1"
    );
    let mut flag = golden_bytes("llama2c_v1.bin");
    flag[36] = 7;
    assert!(
        message(&llama2c::parse(Path::new("x"), &flag).unwrap_err())
            .starts_with("byte 36: the shared classifier flag is 0 or 1, not 7")
    );
}

#[test]
fn a_split_gguf_says_how_to_join_it() {
    let bytes = RawGguf::default().key(b"split.count", 2, &3u16.to_le_bytes()).bytes(0);
    let (_folder, path) = file("part.gguf", &bytes);
    let error = open(&path).err().unwrap().to_string();
    assert!(error.ends_with(
        "one of the 3 parts of a split model; join the parts with `llama-gguf-split --merge`"
    ));
}

/// Opens the damaged file; whatever it still offers must be readable.
fn survives(name: &str, bytes: &[u8]) {
    let (folder, path) = file(name, bytes);
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    if let Ok(model) = open(&path) {
        let weights: &dyn WeightSource = &*model.weights;
        for entry in weights.entries() {
            assert_eq!(weights.bytes(entry).len(), entry.byte_len());
            drop(read_f32(weights, &entry.name));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn flipped_bytes_never_panic(
        file in 0..4usize,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        head_only in any::<bool>(),
    ) {
        let name =
            ["types.gguf", "mixed.safetensors", "llama2c_v0.bin", "llama2c_v1.bin"][file];
        let mut bytes = golden_bytes(name);
        let reach = if head_only { bytes.len().min(1200) } else { bytes.len() };
        for (at, value) in flips {
            bytes[at.index(reach)] = value;
        }
        survives(name, &bytes);
    }
}
