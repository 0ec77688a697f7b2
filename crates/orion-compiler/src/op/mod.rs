//! Operations: one file each, and the list of them all.
//!
//! A **primitive** states its types (`infer`), meaning (`eval`) and gradient (`vjp`). A **composite** is a graph of
//! other operations (`expand`); types, meaning and gradient follow from that, and a backend may still run it as one
//! fused kernel. Neither trait has silent defaults. Being in the list gives an operation its text form and the law
//! tests of `tests/op_laws.rs`.

use crate::diagnostic::nearest;
use crate::ir::attribute::{Attribute, AttributeError, Attributes};
use crate::ir::types::TypeError;
use crate::{Builder, Precision, Tensor, TensorType, Value};

mod composite;
mod elementwise;
mod gradient;
mod sample;

pub(crate) use composite::expansion as definition;
pub use gradient::GradientOf;
pub use sample::Sample;

/// What a primitive's gradient may read: the values of the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// The operands.
    pub inputs: &'a [Value],
    /// The results.
    pub outputs: &'a [Value],
}

/// An operation that the interpreter and reverse mode know by itself.
pub trait Primitive: Attributes + Clone + PartialEq + std::fmt::Debug {
    /// The name in text.
    const NAME: &'static str;
    /// Types of the results, or why the operands do not fit.
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError>;
    /// The meaning: results of the inferred types. Real numbers need no rounding here.
    fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType]) -> Vec<Tensor>;
    /// Gradients of the operands from those of the results (vector-Jacobian product); `None` for an operand that has
    /// none, such as an index.
    fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Vec<Option<Value>>;
    /// Floating-point operations of one evaluation.
    fn flops(&self, inputs: &[TensorType], outputs: &[TensorType]) -> u64;
    /// Small valid uses, from which the law tests are made.
    fn samples() -> Vec<Sample>;
}

/// An operation defined by other operations. It has one result.
pub trait Composite: Attributes + Clone + PartialEq + std::fmt::Debug {
    /// The name in text.
    const NAME: &'static str;
    /// The definition. Mistakes are reported through [`Builder::fail`].
    fn expand(&self, b: &Builder, inputs: &[Value]) -> Value;
    /// The operation that gives its gradients, which backends can run fused; without one, reverse mode goes through the
    /// definition.
    const GRADIENT: Option<Gradient<Self>>;
    /// Small valid uses, from which the law tests are made.
    fn samples() -> Vec<Sample>;
}

/// The gradient operation of a composite, for the operands of these indices.
pub type Gradient<C> = fn(C, Vec<usize>) -> Op;

/// What defines an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Itself.
    Primitive,
    /// Other operations.
    Composite,
    /// Reverse mode through a composite's definition.
    Gradient,
}

/// One line of the list of operations.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name in text.
    pub name: &'static str,
    /// What defines it.
    pub kind: Kind,
    /// What it does, a line each.
    pub about: &'static [&'static str],
    /// Its attributes and what they mean, a line each.
    pub attributes: &'static [(&'static str, &'static [&'static str])],
    /// Its samples.
    pub samples: fn() -> Vec<Sample>,
    read: fn(&[(String, Attribute)]) -> Result<Op, AttributeError>,
}

macro_rules! ops {
    (
        primitive { $($primitive_module:ident::$primitive:ident,)* }
        composite { $($composite_module:ident::$composite:ident,)* }
        gradient { $($gradient:ident($of:ident) = $gradient_name:literal,)* }
    ) => {
        $(pub use $primitive_module::$primitive;)*
        $(pub use $composite_module::$composite;)*

        /// Any operation.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "each variant's documentation is its struct's")]
        pub enum Op {
            $($primitive($primitive),)*
            $($composite($composite),)*
            $($gradient(GradientOf<$of>),)*
        }

        $(ops!(@conversions $primitive);)*
        $(ops!(@conversions $composite);)*
        $(impl From<GradientOf<$of>> for Op {
            fn from(op: GradientOf<$of>) -> Self {
                Self::$gradient(op)
            }
        })*

        /// Every operation, primitives first.
        pub const OPS: &[Entry] = &[
            $(Entry {
                name: <$primitive as Primitive>::NAME,
                kind: Kind::Primitive,
                about: <$primitive as Attributes>::ABOUT,
                attributes: <$primitive as Attributes>::FIELDS,
                samples: <$primitive as Primitive>::samples,
                read: |fields| Ok(Op::$primitive(Attributes::read(fields)?)),
            },)*
            $(Entry {
                name: <$composite as Composite>::NAME,
                kind: Kind::Composite,
                about: <$composite as Attributes>::ABOUT,
                attributes: <$composite as Attributes>::FIELDS,
                samples: <$composite as Composite>::samples,
                read: |fields| Ok(Op::$composite(Attributes::read(fields)?)),
            },)*
            $(Entry {
                name: $gradient_name,
                kind: Kind::Gradient,
                about: GradientOf::<$of>::ABOUT,
                attributes: GradientOf::<$of>::FIELDS,
                samples: GradientOf::<$of>::samples,
                read: |fields| Ok(Op::$gradient(Attributes::read(fields)?)),
            },)*
        ];

        impl Op {
            /// The operation's name in text.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$primitive(_) => <$primitive as Primitive>::NAME,)*
                    $(Self::$composite(_) => <$composite as Composite>::NAME,)*
                    $(Self::$gradient(_) => $gradient_name,)*
                }
            }

            /// Its constants, in declaration order.
            pub fn attributes(&self) -> Vec<(&'static str, Attribute)> {
                match self {
                    $(Self::$primitive(op) => op.write(),)*
                    $(Self::$composite(op) => op.write(),)*
                    $(Self::$gradient(op) => op.write(),)*
                }
            }

            /// Appends its constants bit for bit: two operations of one name that append the same are the same.
            pub fn write_bits(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$primitive(op) => op.write_bits(out),)*
                    $(Self::$composite(op) => op.write_bits(out),)*
                    $(Self::$gradient(op) => op.write_bits(out),)*
                }
            }

            /// Types of the results, or why the operands do not fit.
            pub fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
                match self {
                    $(Self::$primitive(op) => op.infer(inputs),)*
                    $(Self::$composite(_) => composite::infer(self, inputs),)*
                    $(Self::$gradient(op) => op.infer(inputs),)*
                }
            }

            /// The results on concrete operands; the interpreter's step. Operands must fit.
            pub fn eval(&self, inputs: &[&Tensor], outputs: &[TensorType], precision: Precision) -> Vec<Tensor> {
                match self {
                    $(Self::$primitive(op) => op.eval(inputs, outputs),)*
                    _ => composite::eval(self, inputs, precision),
                }
            }

            /// The definition by other operations; `None` for primitives.
            pub fn expand(&self, b: &Builder, inputs: &[Value]) -> Option<Vec<Value>> {
                match self {
                    $(Self::$primitive(_) => None,)*
                    $(Self::$composite(op) => Some(vec![op.expand(b, inputs)]),)*
                    $(Self::$gradient(op) => Some(op.expand(b, inputs)),)*
                }
            }

            /// The operation that gives a composite's gradients for the operands `of`; `None` where reverse mode has to
            /// go through the definition, and for primitives.
            pub fn gradient(&self, of: Vec<usize>) -> Option<Self> {
                match self {
                    $(Self::$composite(op) => {
                        <$composite as Composite>::GRADIENT.map(|gradient| gradient(op.clone(), of))
                    })*
                    _ => None,
                }
            }

            /// How many results it has.
            pub fn result_count(&self) -> usize {
                match self {
                    Self::Split(split) => split.sizes.len(),
                    $(Self::$gradient(op) => op.of.len(),)*
                    _ => 1,
                }
            }

            /// Whether the operation is defined by others.
            pub const fn is_composite(&self) -> bool {
                match self {
                    $(Self::$primitive(_) => false,)*
                    _ => true,
                }
            }

            /// Gradients of a primitive's operands; `None` for composites, which are expanded first.
            pub fn vjp(&self, b: &Builder, forward: Forward<'_>, gradients: &[Value]) -> Option<Vec<Option<Value>>> {
                match self {
                    $(Self::$primitive(op) => Some(op.vjp(b, forward, gradients)),)*
                    _ => None,
                }
            }

            /// Floating-point operations of one evaluation on operands of these types.
            pub fn flops(&self, inputs: &[TensorType], outputs: &[TensorType]) -> u64 {
                match self {
                    $(Self::$primitive(op) => op.flops(inputs, outputs),)*
                    _ => composite::flops(self, inputs),
                }
            }
        }
    };
    (@conversions $name:ident) => {
        impl From<$name> for Op {
            fn from(op: $name) -> Self {
                Self::$name(op)
            }
        }

        impl<'a> TryFrom<&'a Op> for &'a $name {
            type Error = ();

            fn try_from(op: &'a Op) -> Result<Self, ()> {
                match op {
                    Op::$name(op) => Ok(op),
                    _ => Err(()),
                }
            }
        }
    };
}

mod add;
mod attention;
mod broadcast_to;
mod cast;
mod concat;
mod constant;
mod conv1x1;
mod cos;
mod cross_entropy;
mod div;
mod dropout;
mod embedding;
mod equal;
mod erf;
mod exp;
mod gather;
mod gelu;
mod iota;
mod layer_norm;
mod less;
mod less_equal;
mod linear;
mod linear_cross_entropy;
mod log;
mod log_softmax;
mod matmul;
mod maximum;
mod minimum;
mod mul;
mod neg;
mod pad;
mod reduce_max;
mod reduce_mean;
mod reduce_sum;
mod reshape;
mod rms_norm;
mod rope;
mod rsqrt;
mod scatter_add;
mod select;
mod sigmoid;
mod silu;
mod sin;
mod slice;
mod slice_at;
mod softmax;
mod split;
mod sqrt;
mod sub;
mod swiglu;
mod tanh;
mod transpose;
mod update_slice;

ops! {
    primitive {
        add::Add,
        broadcast_to::BroadcastTo,
        cast::Cast,
        concat::Concat,
        constant::Constant,
        cos::Cos,
        div::Div,
        dropout::Dropout,
        equal::Equal,
        erf::Erf,
        exp::Exp,
        gather::Gather,
        iota::Iota,
        less::Less,
        less_equal::LessEqual,
        log::Log,
        matmul::Matmul,
        maximum::Maximum,
        minimum::Minimum,
        mul::Mul,
        neg::Neg,
        pad::Pad,
        reduce_max::ReduceMax,
        reduce_sum::ReduceSum,
        reshape::Reshape,
        rsqrt::Rsqrt,
        scatter_add::ScatterAdd,
        select::Select,
        sigmoid::Sigmoid,
        sin::Sin,
        slice::Slice,
        slice_at::SliceAt,
        softmax::Softmax,
        split::Split,
        sqrt::Sqrt,
        sub::Sub,
        tanh::Tanh,
        transpose::Transpose,
        update_slice::UpdateSlice,
    }
    composite {
        attention::Attention,
        conv1x1::Conv1x1,
        cross_entropy::CrossEntropy,
        embedding::Embedding,
        gelu::Gelu,
        layer_norm::LayerNorm,
        linear::Linear,
        linear_cross_entropy::LinearCrossEntropy,
        log_softmax::LogSoftmax,
        reduce_mean::ReduceMean,
        rms_norm::RmsNorm,
        rope::Rope,
        silu::Silu,
        swiglu::Swiglu,
    }
    gradient {
        AttentionGradient(Attention) = "attention_gradient",
        Conv1x1Gradient(Conv1x1) = "conv1x1_gradient",
        EmbeddingGradient(Embedding) = "embedding_gradient",
        GeluGradient(Gelu) = "gelu_gradient",
        LayerNormGradient(LayerNorm) = "layer_norm_gradient",
        LinearGradient(Linear) = "linear_gradient",
        LinearCrossEntropyGradient(LinearCrossEntropy) = "linear_cross_entropy_gradient",
        ReduceMeanGradient(ReduceMean) = "reduce_mean_gradient",
        RmsNormGradient(RmsNorm) = "rms_norm_gradient",
        RopeGradient(Rope) = "rope_gradient",
        SwigluGradient(Swiglu) = "swiglu_gradient",
    }
}

impl Op {
    /// The operation of this name with attributes from text.
    pub fn read(name: &str, fields: &[(String, Attribute)]) -> Result<Self, AttributeError> {
        let entry = OPS.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let near = nearest(name, OPS.iter().map(|entry| entry.name))
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            AttributeError(format!("no operation is called `{name}`{near}"))
        })?;
        (entry.read)(fields)
    }
}
