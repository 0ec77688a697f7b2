//! Files of constants: the numbers of a program's constant in the form that its text reads ([`Storage`](orion_compiler::mil::lower::Storage)).

use std::borrow::Cow;

use half::f16;
use half::slice::HalfFloatSliceExt;
use orion_compiler::mil::blob::{BlobType, BlobWriter, pack_bits};
use orion_compiler::mil::lower::Part;

/// The largest number of eight bits that is used; both signs have it.
const MOST: f32 = 127.0;
/// Classes that numbers are counted in before a table is chosen for them.
const CLASSES: usize = 4096;
/// How often a table is improved.
const ROUNDS: usize = 30;

/// A file, with its descriptor at offset 64, that has a part of `rows` rows of numbers.
pub fn constant_file(numbers: &[f32], rows: usize, part: Part) -> Vec<u8> {
    let (ty, count, bytes) = match part {
        Part::Numbers => (BlobType::F16, numbers.len(), halves(numbers)),
        Part::Scales => {
            let scales: Vec<f32> = row_scales(numbers, rows).collect();
            (BlobType::F16, scales.len(), halves(&scales))
        }
        Part::Quantized => {
            let length = (numbers.len() / rows.max(1)).max(1);
            let bytes = numbers
                .chunks(length)
                .zip(row_scales(numbers, rows))
                .flat_map(|(row, scale)| row.iter().map(move |x| eighth(x / scale)))
                .collect();
            (BlobType::I8, numbers.len(), bytes)
        }
        Part::Table(bits) => {
            let table = table(numbers, bits);
            (BlobType::F16, table.len(), halves(&table))
        }
        Part::Indices(bits) => {
            let bounds: Vec<f32> = table(numbers, bits)
                .windows(2)
                .map(|pair| f32::midpoint(pair[0], pair[1]))
                .collect();
            let index = |&x: &f32| bounds.partition_point(|&bound| bound < x) as u8;
            let indices: Vec<u8> = numbers.iter().map(index).collect();
            let ty = if bits == 4 { BlobType::U4 } else { BlobType::U6 };
            (ty, indices.len(), pack_bits(&indices, bits as usize))
        }
    };
    let mut file = BlobWriter::default();
    file.push(ty, count, &bytes);
    file.finish()
}

/// A file with these constants one after the other, as [`Lowered::in_one_file`](orion_compiler::mil::lower::Lowered::in_one_file)
/// says where.
pub(super) fn constants_file(constants: &[Cow<'_, [f32]>]) -> Vec<u8> {
    let mut file = BlobWriter::default();
    for numbers in constants {
        file.push(BlobType::F16, numbers.len(), &halves(numbers));
    }
    file.finish()
}

fn halves(numbers: &[f32]) -> Vec<u8> {
    let mut halves = vec![f16::ZERO; numbers.len()];
    halves.convert_from_f32_slice(numbers);
    let mut bytes = vec![0; 2 * numbers.len()];
    let pairs = bytes.as_chunks_mut::<2>().0;
    pairs.iter_mut().zip(&halves).for_each(|(pair, half)| *pair = half.to_le_bytes());
    bytes
}

/// What quantised numbers of each row are multiplied with, as `f16` holds it; one where a row is zero.
fn row_scales(numbers: &[f32], rows: usize) -> impl Iterator<Item = f32> {
    let length = (numbers.len() / rows.max(1)).max(1);
    numbers.chunks(length).map(|row| {
        let most = row.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let scale = f16::from_f32(most / MOST).to_f32();
        if scale > 0.0 && scale.is_finite() { scale } else { 1.0 }
    })
}

fn eighth(x: f32) -> u8 {
    (x.round().clamp(-MOST, MOST) as i8).cast_unsigned()
}

/// `2^bits` numbers in order, chosen so that numbers are near one of them (Lloyd, 1982: quantisation with the least mean
/// square), as `f16` holds them.
fn table(numbers: &[f32], bits: u32) -> Vec<f32> {
    let size = 1_usize << bits;
    let finite = || numbers.iter().copied().filter(|x| x.is_finite());
    let (low, high) = finite()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    if low >= high {
        return vec![if low.is_finite() { low } else { 0.0 }; size];
    }
    // Numbers by class, each with its sum: what a table is chosen from.
    let width = (f64::from(high) - f64::from(low)) / CLASSES as f64;
    let mut classes = vec![(0.0_f64, 0.0_f64); CLASSES];
    for x in finite() {
        let class = ((f64::from(x) - f64::from(low)) / width) as usize;
        let class = &mut classes[class.min(CLASSES - 1)];
        *class = (class.0 + 1.0, class.1 + f64::from(x));
    }
    // The best tables have entries as dense as the cube root of how dense numbers are (Panter and Dite, 1951): a start
    // that few rounds improve.
    let density = |count: f64| count.cbrt();
    let share = classes.iter().map(|&(count, _)| density(count)).sum::<f64>() / size as f64;
    let (mut table, mut counted) = (Vec::with_capacity(size), 0.0);
    for (index, &(count, _)) in classes.iter().enumerate() {
        counted += density(count);
        while table.len() < size && counted >= share * (table.len() as f64 + 0.5) {
            table.push(f64::from(low) + (index as f64 + 0.5) * width);
        }
    }
    table.resize(size, f64::from(high));
    for _ in 0..ROUNDS {
        let mut sums = vec![(0.0_f64, 0.0_f64); size];
        let mut nearest = 0;
        for (index, &(count, sum)) in classes.iter().enumerate() {
            let centre = f64::from(low) + (index as f64 + 0.5) * width;
            while nearest + 1 < size
                && (table[nearest + 1] - centre).abs() <= (table[nearest] - centre).abs()
            {
                nearest += 1;
            }
            sums[nearest] = (sums[nearest].0 + count, sums[nearest].1 + sum);
        }
        for (entry, (count, sum)) in table.iter_mut().zip(sums) {
            if count > 0.0 {
                *entry = sum / count;
            }
        }
    }
    let mut table: Vec<f32> = table.iter().map(|&x| f16::from_f64(x).to_f32()).collect();
    table.sort_unstable_by(f32::total_cmp);
    table
}

#[cfg(test)]
mod tests {
    use orion_compiler::mil::blob::{BlobFile, unpack_bits};

    use super::*;

    fn bytes(numbers: &[f32], rows: usize, part: Part) -> Vec<u8> {
        let file = constant_file(numbers, rows, part);
        BlobFile::open(&file).unwrap().at(64).unwrap().data.to_vec()
    }

    fn numbers(count: usize) -> Vec<f32> {
        (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0).collect()
    }

    #[test]
    fn quantised_rows_come_back_within_half_a_step() {
        let numbers = numbers(64);
        let (data, scales) =
            (bytes(&numbers, 4, Part::Quantized), bytes(&numbers, 4, Part::Scales));
        for (index, &x) in numbers.iter().enumerate() {
            let row = index / 16;
            let scale = f16::from_le_bytes([scales[2 * row], scales[2 * row + 1]]).to_f32();
            let back = f32::from(data[index].cast_signed()) * scale;
            assert!((back - x).abs() <= 0.51 * scale, "{x} became {back}");
        }
    }

    #[test]
    fn tables_are_in_order_and_indices_name_the_nearest() {
        let numbers = numbers(5000);
        for bits in [4, 6] {
            let table = bytes(&numbers, 1, Part::Table(bits));
            let table: Vec<f32> =
                table.as_chunks::<2>().0.iter().map(|&x| f16::from_le_bytes(x).to_f32()).collect();
            assert!(table.is_sorted());
            let indices = bytes(&numbers, 1, Part::Indices(bits));
            let indices = unpack_bits(&indices, bits as usize, numbers.len());
            let mut error = 0.0;
            for (&x, &index) in numbers.iter().zip(&indices) {
                let found = (table[usize::from(index)] - x).abs();
                let best = table.iter().map(|entry| (entry - x).abs()).fold(f32::MAX, f32::min);
                assert!(found <= best + 1e-6, "{x}: {found}, {best} is nearer");
                error += found * found;
            }
            // Numbers that are spread evenly: a table cannot be better than steps of the same size, and is nearly as good.
            let step = 2.0 / f64::from(1_u32 << bits);
            let least = step * step / 12.0;
            let mean = f64::from(error) / numbers.len() as f64;
            assert!(mean < 1.2 * least, "{bits} bits: {mean}, {least} at best");
        }
    }

    #[test]
    fn equal_numbers_and_none_have_tables_too() {
        assert_eq!(bytes(&[0.5; 8], 1, Part::Indices(4)).len(), 4);
        assert_eq!(bytes(&[], 1, Part::Table(4)).len(), 32);
    }
}
