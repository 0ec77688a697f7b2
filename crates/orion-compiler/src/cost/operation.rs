//! What kind of work an operation is, and which operations are a step of the one before them.

/// Kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// `conv` and its transposed form: weights arrive while sums are formed.
    Convolution,
    /// `matmul`, `linear`, `einsum`: weights arrive, then sums are formed.
    Product,
    /// `scaled_dot_product_attention`: two products and a softmax.
    Attention,
    /// One pass over elements.
    Elementwise,
    /// The same, with an operand that is repeated: a number for each row, or a row for all.
    Broadcast,
    /// Division of elements, and what is computed like it.
    Division,
    /// Sums, largest elements and pools.
    Reduction,
    /// `softmax`.
    Softmax,
    /// A norm that is one operation.
    Norm,
    /// Elements change their places.
    Movement,
    /// Nothing happens: other dimensions for the same bytes, or what is done while values are read.
    Free,
}

impl Class {
    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Convolution => "convolution",
            Self::Product => "product",
            Self::Attention => "attention",
            Self::Elementwise => "elementwise",
            Self::Broadcast => "broadcast",
            Self::Division => "division",
            Self::Reduction => "reduction",
            Self::Softmax => "softmax",
            Self::Norm => "norm",
            Self::Movement => "movement",
            Self::Free => "free",
        }
    }

    /// Whether it multiplies and adds.
    pub const fn sums(self) -> bool {
        matches!(self, Self::Convolution | Self::Product | Self::Attention)
    }
}

/// The kind of an operation of MIL.
pub(super) fn class(op: &str) -> Class {
    match op {
        "conv" | "conv_transpose" | "conv_quantized" => Class::Convolution,
        "matmul" | "linear" | "einsum" => Class::Product,
        "scaled_dot_product_attention" => Class::Attention,
        "real_div" | "floor_div" | "mod" | "pow" | "inverse" => Class::Division,
        "softmax" => Class::Softmax,
        "layer_norm" | "instance_norm" | "local_response_norm" | "l2_norm" => Class::Norm,
        "avg_pool" | "max_pool" | "l2_pool" | "cumsum" | "topk" | "argsort" => Class::Reduction,
        _ if op.starts_with("reduce_") => Class::Reduction,
        "reshape" | "expand_dims" | "squeeze" | "flatten2d" | "identity" | "cast"
        | "dequantize" | "shape" | "reshape_like" => Class::Free,
        "transpose"
        | "concat"
        | "split"
        | "stack"
        | "slice_by_index"
        | "slice_by_size"
        | "slice_update"
        | "pad"
        | "tile"
        | "reverse"
        | "gather"
        | "gather_along_axis"
        | "gather_nd"
        | "scatter"
        | "scatter_along_axis"
        | "scatter_nd"
        | "sliding_windows"
        | "pixel_shuffle"
        | "pixel_unshuffle"
        | "space_to_depth"
        | "depth_to_space"
        | "space_to_batch"
        | "batch_to_space"
        | "crop"
        | "crop_resize"
        | "resize"
        | "resize_bilinear"
        | "resize_nearest_neighbor"
        | "upsample_bilinear"
        | "upsample_nearest_neighbor"
        | "resample"
        | "affine"
        | "read_state"
        | "write_state" => Class::Movement,
        _ => Class::Elementwise,
    }
}

/// Whether an operation becomes a step of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fusion {
    /// A function of one element.
    Activation,
    /// With a constant that is smaller than the value: a scale or an offset.
    Scale,
    /// An operation of its own.
    Never,
}

/// As traffic of compiled programs shows: scales, offsets and activations ride along, all else is written and read.
pub(super) fn fusion(op: &str) -> Fusion {
    match op {
        "relu" | "relu6" | "clamped_relu" | "leaky_relu" | "thresholded_relu" | "elu" | "gelu"
        | "silu" | "sigmoid" | "sigmoid_hard" | "tanh" | "scaled_tanh" | "softplus"
        | "softsign" | "clip" | "abs" | "square" | "sqrt" | "exp" | "exp2" | "erf" | "sign"
        | "threshold" | "linear_activation" | "quantize" => Fusion::Activation,
        "add" | "sub" | "mul" | "batch_norm" | "prelu" => Fusion::Scale,
        _ => Fusion::Never,
    }
}
