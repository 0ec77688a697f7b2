//! Rewriting passes and the driver that runs them. A rule looks at one node and proposes a change, or nothing; the
//! driver applies rules until none fires, verifies the program after each pass, and stops a rule that never ends.
//!
//! Rules keep a program's signature. Two rewrites do not, or do not end with the same operations, and are functions of their
//! own: [`expand::expand_composites`] and [`pad_outputs::pad_outputs`].

pub mod expand;
pub mod pad_outputs;

mod avoid_concat;
mod cancel_concat;
mod driver;
mod drop_identity;
mod drop_unread;
mod factor_sums;
mod fold_constants;
mod fold_negations;
mod fold_scales;
mod fuse_casts;
mod fuse_conv1x1;
mod fuse_conv_bias;
mod fuse_loss;
mod fuse_transposes;
mod lift_reshapes;
mod merge_common;
mod merge_reshapes;
mod merge_transposes;
mod segments;
mod sink_broadcasts;
mod sink_layouts;
mod split_at_notch;
mod split_conv_bias;
mod use_reshape;
mod view;

use crate::NodeId;
use crate::ir::patch::Change;

pub use avoid_concat::AVOID_CONCAT;
pub use cancel_concat::CANCEL_CONCAT;
pub use driver::{Options, PassError, run, run_until_quiet};
pub use drop_identity::DROP_IDENTITY;
pub use drop_unread::DROP_UNREAD;
pub use factor_sums::FACTOR_SUMS;
pub use fold_constants::{FOLD_CONSTANTS, FOLDED_ELEMENTS};
pub use fold_negations::FOLD_NEGATIONS;
pub use fold_scales::FOLD_SCALES;
pub use fuse_casts::FUSE_CASTS;
pub use fuse_conv_bias::FUSE_CONV_BIAS;
pub use fuse_conv1x1::FUSE_CONV1X1;
pub use fuse_loss::FUSE_LOSS;
pub use fuse_transposes::FUSE_TRANSPOSES;
pub use lift_reshapes::LIFT_RESHAPES;
pub use merge_common::MERGE_COMMON;
pub use merge_reshapes::MERGE_RESHAPES;
pub use merge_transposes::MERGE_TRANSPOSES;
pub use sink_broadcasts::SINK_BROADCASTS;
pub use sink_layouts::SINK_LAYOUTS;
pub use split_at_notch::SPLIT_AT_NOTCH;
pub use split_conv_bias::SPLIT_CONV_BIAS;
pub use use_reshape::USE_RESHAPE;
pub use view::View;

/// One kind of rewrite.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What it does, verb first: the name in the CLI, tests and dumps. Its file is called the same.
    pub name: &'static str,
    /// Whether programs compute the same bits afterwards, the signs of zeros aside. Others compute the same numbers in exact
    /// arithmetic, and their files say where they round differently.
    pub exact: bool,
    /// What it changes.
    pub rewrite: Rewrite,
}

/// How a rule finds what it changes.
#[derive(Clone, Copy, Debug)]
pub enum Rewrite {
    /// A change at this node, if the rule applies there. Tried at every node until nothing changes.
    Node(fn(&View<'_>, NodeId) -> Option<Change>),
    /// All changes of a program, each at a node, in the order in which they are made. Asked again until there is none.
    Program(fn(&View<'_>) -> Vec<(NodeId, Change)>),
}

/// Every rule there is.
pub const RULES: &[Rule] = &[
    AVOID_CONCAT,
    CANCEL_CONCAT,
    DROP_IDENTITY,
    DROP_UNREAD,
    FACTOR_SUMS,
    FOLD_CONSTANTS,
    FOLD_NEGATIONS,
    FOLD_SCALES,
    FUSE_CASTS,
    FUSE_CONV1X1,
    FUSE_CONV_BIAS,
    FUSE_LOSS,
    FUSE_TRANSPOSES,
    LIFT_RESHAPES,
    MERGE_COMMON,
    MERGE_RESHAPES,
    MERGE_TRANSPOSES,
    SINK_BROADCASTS,
    SINK_LAYOUTS,
    SPLIT_AT_NOTCH,
    SPLIT_CONV_BIAS,
    USE_RESHAPE,
];

/// The rules that every program goes through, in the order in which they run, with the reason for the place. What a backend
/// recognises by its shape stays as it is, and so does what was doubled on purpose, such as forward results that training
/// computes again.
pub const PIPELINE: &[Rule] = &[
    // First, so that no other rule works for nothing.
    DROP_UNREAD,
    // Before what looks at neighbours, so that it need not look through operations that do nothing.
    DROP_IDENTITY,
    FUSE_CASTS,
    CANCEL_CONCAT,
    MERGE_TRANSPOSES,
    // Transposes that are left may be reshapes in truth, which merge with their neighbours.
    USE_RESHAPE,
    MERGE_RESHAPES,
    // Again: two operations may have merged into one that does nothing.
    DROP_IDENTITY,
];

/// The rules for programs on their way to the Neural Engine, with the reason for the place. They are meant to be run with
/// [`run_until_quiet`], as one makes work for another.
pub const ENGINE: &[Rule] = &[
    DROP_UNREAD,
    // Early, so that everything is done once. Not for other backends: it would undo what training doubles on purpose.
    MERGE_COMMON,
    DROP_IDENTITY,
    FUSE_CASTS,
    // After merging, so that equal constants are computed once; larger ones are computed when weights are written.
    FOLD_CONSTANTS,
    CANCEL_CONCAT,
    // Before layouts move: broadcasts would stand in their way.
    SINK_BROADCASTS,
    // Products with weights first become convolutions, which bring reshapes and transposes that the next rules move.
    FUSE_CONV1X1,
    // Reshapes and transposes move towards each other, then into one another or away.
    USE_RESHAPE,
    MERGE_RESHAPES,
    LIFT_RESHAPES,
    SINK_LAYOUTS,
    MERGE_TRANSPOSES,
    FUSE_TRANSPOSES,
    // When nothing stands between a product and its scale any more. Sums first, so that a negation is not yet a factor.
    FOLD_NEGATIONS,
    FACTOR_SUMS,
    FOLD_SCALES,
    // Last, as they make more operations: what an operation's form must be on this route and this chip.
    AVOID_CONCAT,
    FUSE_CONV_BIAS,
    SPLIT_CONV_BIAS,
    SPLIT_AT_NOTCH,
    DROP_IDENTITY,
];

/// Rules that those who want them name: they fit one purpose.
pub const OPTIONAL: &[Rule] = &[
    // For training: the logits of all tokens are never kept. Before gradients are derived.
    FUSE_LOSS,
];
