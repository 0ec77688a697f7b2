//! The sizes of a convolution, from a statement's arguments, and its windows.

use orion_compiler::mil::syntax::Statement;
use orion_compiler::{DType, Diagnostic};

use super::super::super::plan::{Planning, ValueId, refuse};

/// Numbers of gathered windows beyond which a text is a mistake.
const MOST_WINDOWS: usize = 1 << 30;

/// The sizes of a convolution; one dimension is two of which the first has one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) batch: usize,
    /// Channels of an image, and of the result.
    pub(super) channels: [usize; 2],
    pub(super) groups: usize,
    pub(super) size: [usize; 2],
    pub(super) window: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Elements before the first, along each dimension.
    pub(super) before: [usize; 2],
    /// Of the result.
    pub(super) out: [usize; 2],
}

impl Geometry {
    /// Channels of a group, before and after.
    pub(super) fn of_group(&self) -> [usize; 2] {
        self.channels.map(|count| count / self.groups)
    }

    /// Numbers that are multiplied for each result.
    pub(super) fn depth(&self) -> usize {
        self.of_group()[0] * self.window[0] * self.window[1]
    }

    /// Whether windows are elements and lie where their results do.
    pub(super) fn is_pointwise(&self) -> bool {
        self.window == [1, 1] && self.stride == [1, 1] && self.size == self.out
    }

    /// The windows of one group of one image as rows of a matrix `[depth, places]`.
    pub(super) fn gather(&self, image: &[f32], to: &mut Vec<f32>) {
        let [height, width] = self.size;
        to.clear();
        for plane in image.chunks_exact((height * width).max(1)) {
            for row in 0..self.window[0] {
                for column in 0..self.window[1] {
                    for y in 0..self.out[0] {
                        let from_y = y * self.stride[0] + row * self.dilation[0];
                        let line = from_y.checked_sub(self.before[0]).filter(|&y| y < height);
                        let line = line.map(|y| &plane[y * width..(y + 1) * width]);
                        to.extend((0..self.out[1]).map(|x| {
                            let from_x = x * self.stride[1] + column * self.dilation[1];
                            let at = from_x.checked_sub(self.before[1]);
                            line.zip(at).and_then(|(line, at)| line.get(at)).copied().unwrap_or(0.0)
                        }));
                    }
                }
            }
        }
    }
}

/// The sizes, if it is a convolution over one or two dimensions.
pub(super) fn geometry<'p, 't>(
    p: &Planning<'p, 't>,
    s: &'p Statement<'t>,
    x: ValueId,
    weight: ValueId,
) -> Result<Option<Geometry>, Diagnostic> {
    let (x_shape, w_shape) = (p.shape(x), p.shape(weight));
    let spatial = x_shape.len().saturating_sub(2);
    let is_real = |value: ValueId| matches!(p.ty(value).dtype, DType::F16 | DType::F32);
    let lift = |shape: &[usize]| match *shape {
        [n, c, w] => Some([n, c, 1, w]),
        [n, c, h, w] => Some([n, c, h, w]),
        _ => None,
    };
    if x_shape.len() != w_shape.len() || !is_real(x) || !is_real(weight) {
        return Ok(None);
    }
    let (Some(image), Some(window)) = (lift(&x_shape), lift(&w_shape)) else { return Ok(None) };
    let ([batch, channels, height, width], [out_channels, per_group, rows, columns]) =
        (image, window);
    let pair = |name: &str| -> Result<[usize; 2], Diagnostic> {
        let list = p.ints_or(s, name, &vec![1; spatial])?;
        let list: Vec<usize> = list.iter().map(|&x| usize::try_from(x).unwrap_or(0)).collect();
        match *list {
            [w] if spatial == 1 && w > 0 => Ok([1, w]),
            [h, w] if spatial == 2 && h > 0 && w > 0 => Ok([h, w]),
            _ => Err(refuse(s, "MIL033", format!("`{name}` of `conv` over {spatial} dimensions"))),
        }
    };
    let (stride, dilation) = (pair("strides")?, pair("dilations")?);
    let groups = usize::try_from(p.int_or(s, "groups", 1)?).unwrap_or(0).max(1);
    if per_group.checked_mul(groups) != Some(channels) || !out_channels.is_multiple_of(groups) {
        let message = format!("{groups} groups of {channels} channels, {per_group} in the weight");
        return Err(refuse(s, "MIL033", message));
    }
    let (size, window) = ([height, width], [rows, columns]);
    let padding = padding(p, s, size, window, stride, dilation, spatial)?;
    let count = |axis: usize| {
        let reach = dilation[axis].checked_mul(window[axis].checked_sub(1)?)?.checked_add(1)?;
        let full = size[axis].checked_add(padding[axis][0])?.checked_add(padding[axis][1])?;
        full.checked_sub(reach).map(|rest| rest / stride[axis] + 1)
    };
    let (Some(out_height), Some(out_width)) = (count(0), count(1)) else {
        return Err(refuse(s, "MIL033", "the window of `conv` is larger than its input"));
    };
    let geometry = Geometry {
        batch,
        channels: [channels, out_channels],
        groups,
        size,
        window,
        stride,
        dilation,
        before: padding.map(|pair| pair[0]),
        out: [out_height, out_width],
    };
    let windows = geometry.depth().saturating_mul(out_height.saturating_mul(out_width));
    Ok((geometry.is_pointwise() || windows <= MOST_WINDOWS).then_some(geometry))
}

/// Elements before the first and behind the last, along each dimension.
fn padding<'p, 't>(
    p: &Planning<'p, 't>,
    s: &'p Statement<'t>,
    size: [usize; 2],
    window: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    spatial: usize,
) -> Result<[[usize; 2]; 2], Diagnostic> {
    let kind = p.string_or(s, "pad_type", "valid")?;
    let same = |axis: usize, low_first: bool| {
        let reach = dilation[axis].saturating_mul(window[axis].saturating_sub(1)).saturating_add(1);
        let last = size[axis].div_ceil(stride[axis]).saturating_sub(1).saturating_mul(stride[axis]);
        let all = last.saturating_add(reach).saturating_sub(size[axis]);
        if low_first { [all.div_ceil(2), all / 2] } else { [all / 2, all.div_ceil(2)] }
    };
    match kind.as_str() {
        "valid" => Ok([[0; 2]; 2]),
        "same" | "same_lower" => Ok([same(0, kind != "same"), same(1, kind != "same")]),
        "custom" => {
            let pad: Option<Vec<usize>> =
                p.ints(s, "pad")?.into_iter().map(|x| usize::try_from(x).ok()).collect();
            match pad.as_deref() {
                Some(&[left, right]) if spatial == 1 => Ok([[0; 2], [left, right]]),
                Some(&[top, bottom, left, right]) if spatial == 2 => {
                    Ok([[top, bottom], [left, right]])
                }
                _ => Err(refuse(s, "MIL033", "`pad` of `conv` has two numbers for each dimension")),
            }
        }
        _ => Err(refuse(s, "MIL033", format!("`conv` has no `pad_type` {kind:?}"))),
    }
}
