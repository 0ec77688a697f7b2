//! Splits a convolution whose weight is read at a fraction of the usual speed. On M3 and M4, reading from memory falls to 17 to
//! 25 GB/s where the part of a weight that one core takes, `⌈out / 16⌉ · in · 2` bytes, lies within 16 KiB of a multiple of
//! 1 MiB (ANE058; facts §7.1, measured by EY, EY4 and SH). Two convolutions of a part of the channels each are read at full speed, and
//! summed.
//!
//! Rounds differently: the two partial sums are rounded to the element type before they are added.
//!
//! ```oir
//! // target: m4 in-memory
//! program p {
//!   input %0 "x": f16[1,2048,1,64]
//!   weight %1 "w": f16[4096,2048]
//!   %2: f16[1,4096,1,64] = conv1x1(%0, %1)
//!   output %2 "y"
//! }
//! // ----
//! program p {
//!   input %0 "x": f16[1,2048,1,64]
//!   weight %1 "w": f16[4096,2048]
//!   %2: f16[1,1024,1,64] = slice(%0) {starts = [0, 0, 0, 0], ends = [1, 1024, 1, 64]} @ split-at-notch
//!   %3: f16[4096,1024] = slice(%1) {starts = [0, 0], ends = [4096, 1024]} @ split-at-notch
//!   %4: f16[1,4096,1,64] = conv1x1(%2, %3) @ split-at-notch
//!   %5: f16[1,1024,1,64] = slice(%0) {starts = [0, 1024, 0, 0], ends = [1, 2048, 1, 64]} @ split-at-notch
//!   %6: f16[4096,1024] = slice(%1) {starts = [0, 1024], ends = [4096, 2048]} @ split-at-notch
//!   %7: f16[1,4096,1,64] = conv1x1(%5, %6) @ split-at-notch
//!   %8: f16[1,4096,1,64] = add(%4, %7) @ split-at-notch
//!   output %8 "y"
//! }
//! ```

use super::{Rewrite, Rule, View};
use crate::ir::patch::Change;
use crate::op::{Add, Cast, Conv1x1, Slice};
use crate::target::{Chip, Family};
use crate::{DType, NodeId, Op};

/// See the [module](self).
pub const SPLIT_AT_NOTCH: Rule =
    Rule { name: "split-at-notch", exact: false, rewrite: Rewrite::Node(rewrite) };

const LAP: usize = 1 << 20;
const NOTCH: usize = 16 << 10;
/// Cores that share the channels of the result, as Apple counts them.
const CORES: usize = 16;

/// Whether reading the weight of a convolution from `ins` to `outs` channels is throttled on a chip.
fn is_in_notch(chip: Chip, outs: usize, ins: usize) -> bool {
    if !matches!(chip.family(), Family::A15 | Family::A16) {
        return false;
    }
    let payload = outs.div_ceil(CORES).saturating_mul(ins).saturating_mul(2);
    let beyond = payload % LAP;
    // The nearest multiple is not zero.
    payload > LAP / 2 && beyond.min(LAP - beyond) < NOTCH
}

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let (Op::Conv1x1(_), &[y]) = (&node.op, node.outputs.as_slice()) else { return None };
    let (&x, &weight) = (node.inputs.first()?, node.inputs.get(1)?);
    let (&[images, ins, height, width], &[outs, _]) =
        (view.type_of(x).shape.as_slice(), view.type_of(weight).shape.as_slice())
    else {
        return None;
    };
    let chip = view.target().chip;
    if !view.is_fixed(weight) || !is_in_notch(chip, outs, ins) {
        return None;
    }
    let middle = middle(chip, outs, ins)?;
    let mut patch = view.patch();
    let mut matrix = weight;
    if view.type_of(weight).dtype.is_block() {
        let dtype = DType::F32;
        matrix = patch.node(Cast { dtype }, &[weight])?;
    }
    let mut sums = Vec::with_capacity(2);
    for (from, to) in [(0, middle), (middle, ins)] {
        let part = Slice { starts: vec![0, from, 0, 0], ends: vec![images, to, height, width] };
        let part = patch.node(part, &[x])?;
        let own = patch.node(Slice { starts: vec![0, from], ends: vec![outs, to] }, &[matrix])?;
        let bias = node.inputs.get(2).filter(|_| from > 0);
        let operands: Vec<_> = [part, own].into_iter().chain(bias.copied()).collect();
        sums.push(patch.node(Conv1x1 {}, &operands)?);
    }
    let sum = patch.node(Add {}, &sums)?;
    patch.replace(y, sum)
}

/// Where to cut the channels: as near to the middle as leaves no part in the notch, at a multiple of 64 if there is one, as
/// rows of channels are read in such bundles.
fn middle(chip: Chip, outs: usize, ins: usize) -> Option<usize> {
    let fits = |&at: &usize| {
        at > 0 && at < ins && !is_in_notch(chip, outs, at) && !is_in_notch(chip, outs, ins - at)
    };
    [64, 1].into_iter().find_map(|step| {
        let half = ins / 2 / step;
        (0..=half).flat_map(|away| [(half - away) * step, (half + away) * step]).find(fits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notch_is_where_it_was_measured() {
        // SH on M4, twice as slow as when split; and a control that was not.
        for (outs, ins) in [(2048, 4096), (4096, 4096), (2048, 8192), (4096, 14336)] {
            assert!(is_in_notch(Chip::M4, outs, ins), "{outs} {ins}");
        }
        assert!(!is_in_notch(Chip::M4, 2016, 4096));
        // EY on M3: 996 µs, and 317 µs and less.
        assert!(is_in_notch(Chip::M3, 4096, 2048));
        for ins in [576, 768, 1024, 1280, 1536] {
            assert!(!is_in_notch(Chip::M3, 4096, ins), "{ins}");
        }
        assert!(!is_in_notch(Chip::M4, 16, 1));
        for chip in [Chip::M1, Chip::M2Max, Chip::M5] {
            assert!(!is_in_notch(chip, 4096, 2048));
        }
    }

    #[test]
    fn no_part_is_in_the_notch() {
        for (outs, ins) in [(4096, 2048), (4096, 4096), (8192, 8192), (4096, 14336), (1, 524_288)] {
            let at = middle(Chip::M4, outs, ins).unwrap_or(0);
            assert!(at > 0 && at < ins, "{outs} {ins}");
            assert!(!is_in_notch(Chip::M4, outs, at) && !is_in_notch(Chip::M4, outs, ins - at));
        }
    }
}
