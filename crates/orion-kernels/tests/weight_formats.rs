//! Weight formats against gguf-py and llama.cpp's quantiser; the vectors come from `tools/golden/weight_formats.py`.

use orion_kernels::format::{WeightFormat, decode, encode};

const GOLDEN: &str = include_str!("golden/weight_formats.txt");

fn format(name: &str) -> WeightFormat {
    WeightFormat::ALL
        .into_iter()
        .find(|f| f.name().eq_ignore_ascii_case(name))
        .expect("a format's name")
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal"))
        .collect()
}

fn floats(hex: &str) -> Vec<f32> {
    bytes(hex).as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// The fields of the golden lines that begin with `kind`.
fn golden(kind: &str) -> impl Iterator<Item = (WeightFormat, Vec<&str>)> {
    GOLDEN.lines().filter_map(move |line| {
        let mut fields = line.split(' ');
        (fields.next() == Some(kind))
            .then(|| (format(fields.next().expect("a format")), fields.collect()))
    })
}

fn decoded(format: WeightFormat, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; bytes.len() / format.block_bytes() * format.block_len()];
    decode(format, bytes, &mut out);
    out
}

fn encoded(format: WeightFormat, values: &[f32]) -> Vec<u8> {
    let mut out = vec![0xaa; format.row_bytes(values.len()).expect("whole blocks")];
    encode(format, values, &mut out);
    out
}

#[test]
fn decoding_is_bit_equal_to_gguf_py() {
    let mut seen = 0;
    for (format, fields) in golden("decode") {
        let (got, want) = (decoded(format, &bytes(fields[0])), floats(fields[1]));
        assert_eq!(got.len(), want.len());
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_eq!(got.to_bits(), want.to_bits(), "{format} value {i}: {got} is not {want}");
        }
        seen += 1;
    }
    assert_eq!(seen, 8);
}

#[test]
fn encoding_is_byte_equal_to_gguf_py() {
    let mut seen = 0;
    for (format, fields) in golden("encode") {
        assert_eq!(encoded(format, &floats(fields[0])), bytes(fields[1]), "{format}");
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn k_formats_are_at_least_as_accurate_as_llama_cpp() {
    let mut seen = 0;
    for (format, fields) in golden("error") {
        let values = floats(fields[0]);
        let restored = decoded(format, &encoded(format, &values));
        let sub = if format == WeightFormat::Q6K { 16 } else { 32 };
        let (mut plain, mut weighted, mut total) = (0.0, 0.0, 0.0);
        for (values, restored) in values.chunks(sub).zip(restored.chunks(sub)) {
            let rms = (values.iter().map(|x| (x * x) as f64).sum::<f64>() / sub as f64).sqrt();
            for (&x, &y) in values.iter().zip(restored) {
                let error = (x as f64 - y as f64).powi(2);
                let weight = rms + x.abs() as f64;
                plain += error;
                weighted += weight * error;
                total += weight;
            }
        }
        let (plain, weighted) = ((plain / values.len() as f64).sqrt(), (weighted / total).sqrt());
        let want: Vec<f64> = fields[1..].iter().map(|field| field.parse().unwrap()).collect();
        println!(
            "{format}: rmse {plain:.3e} ({:.3e}), weighted {weighted:.3e} ({:.3e})",
            want[0], want[1]
        );
        assert!(plain <= want[0], "{format}: rmse {plain:e}, llama.cpp has {:e}", want[0]);
        assert!(
            weighted <= want[1],
            "{format}: weighted {weighted:e}, llama.cpp has {:e}",
            want[1]
        );
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn formats_without_blocks_round_trip_their_own_values() {
    let exact = [0.0, -0.0, 1.0, -1.5, 65504.0, 6.103_515_6e-5, f32::INFINITY, f32::NEG_INFINITY];
    let values: Vec<f32> = (0..600).map(|i| exact[i % exact.len()]).collect();
    for format in [WeightFormat::F32, WeightFormat::F16] {
        assert_eq!(decoded(format, &encoded(format, &values)), values, "{format}");
    }
    let halves = decoded(
        WeightFormat::BF16,
        &encoded(WeightFormat::BF16, &[f32::NAN, f32::MAX, 1.0 + 1.0 / 256.0]),
    );
    assert!(halves[0].is_nan());
    assert_eq!(halves[1..], [f32::INFINITY, 1.0]);
}

#[test]
fn non_finite_values_poison_their_block_and_no_other() {
    for format in WeightFormat::ALL.into_iter().filter(|f| f.is_quantized()) {
        let len = format.block_len();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![0.5; 3 * len];
            values[len + 7] = bad;
            let restored = decoded(format, &encoded(format, &values));
            assert!(restored[len..2 * len].iter().all(|x| x.is_nan()), "{format} with {bad}");
            let others = restored[..len].iter().chain(&restored[2 * len..]);
            assert!(others.into_iter().all(|x| (x - 0.5).abs() < 0.05), "{format} with {bad}");
        }
    }
}

#[test]
fn any_bytes_decode_without_panic() {
    for format in WeightFormat::ALL {
        for fill in [0x00, 0x7c, 0x7e, 0xfc, 0xff] {
            decoded(format, &vec![fill; format.block_bytes() * 3]);
        }
    }
}

#[test]
fn extreme_and_constant_blocks_encode_without_panic() {
    for format in WeightFormat::ALL {
        for value in [0.0, -0.0, 1e-42, -1e-38, 1e30, -f32::MAX, 7.0, -7.0] {
            let restored = decoded(format, &encoded(format, &vec![value; 256]));
            if value.abs() == 7.0 || value == 0.0 {
                let near = restored.iter().all(|x| (x - value).abs() <= 0.5);
                assert!(near, "{format} of {value} gave {}", restored[0]);
            }
        }
    }
}

#[test]
fn row_bytes_refuse_partial_blocks_and_overflow() {
    assert_eq!(WeightFormat::Q4K.row_bytes(512), Some(288));
    assert_eq!(WeightFormat::Q4K.row_bytes(300), None);
    assert_eq!(WeightFormat::F32.row_bytes(usize::MAX), None);
}
