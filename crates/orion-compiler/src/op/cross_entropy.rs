//! `cross_entropy`: the mean loss of predicting labels.

use super::{Composite, Gradient, Sample};
use crate::ir::types::TypeError;
use crate::{Builder, DType, TensorType, Value, attributes};

attributes! {
    /// Mean over rows of `-ln softmax(logits)[label]`. Operands: `logits [rows, classes]`, `labels i32[rows]`. Rows whose
    /// label is `ignore` count for nothing; when all do, the loss is zero. Any other label outside of the classes adds
    /// no loss, but counts.
    pub struct CrossEntropy {
        /// The label that marks a row to leave out.
        pub ignore: i64,
    }
}

impl Composite for CrossEntropy {
    const NAME: &'static str = "cross_entropy";
    const GRADIENT: Option<Gradient<Self>> = None;

    fn expand(&self, b: &Builder, inputs: &[Value]) -> Value {
        let &[logits, labels] = inputs else {
            return b.wrong_operands(Self::NAME, "logits, labels", inputs);
        };
        let ty = b.type_of(logits);
        let &[rows, classes] = ty.shape.as_slice() else {
            return b
                .fail(Self::NAME, TypeError(format!("logits need two dimensions, found {ty}")));
        };
        if b.type_of(labels) != TensorType::new(DType::I32, [rows]) {
            let message = format!("labels must be i32[{rows}], found {}", b.type_of(labels));
            return b.fail(Self::NAME, TypeError(message));
        }
        let Ok(ignore) = i32::try_from(self.ignore) else {
            let message = format!("labels are i32, so none can be {} to be ignored", self.ignore);
            return b.fail(Self::NAME, TypeError(message));
        };
        let (zero, one) = (b.scalar(ty.dtype, 0.0), b.scalar(ty.dtype, 1.0));
        let hit = b.equal(b.iota(&[rows, classes], 1), b.reshape(labels, &[rows, 1]));
        let chosen = b.reduce_sum(b.select(hit, b.log_softmax(logits, -1), zero), &[-1], false);
        let ignored = b.equal(labels, b.constant(DType::I32, &[], vec![f64::from(ignore)]));
        let counted =
            b.reduce_sum(b.select(ignored, b.fill(&ty.with_shape([rows]), 0.0), one), &[0], false);
        let sum = b.reduce_sum(b.select(ignored, zero, chosen), &[0], false);
        b.neg(b.div(sum, b.maximum(counted, one)))
    }

    fn samples() -> Vec<Sample> {
        vec![
            Sample::of(Self { ignore: -100 }).f32([4, 5]).i32([4], 0..5),
            Sample::of(Self { ignore: 2 }).f32([4, 3]).i32([4], 0..3),
        ]
    }
}

impl Builder {
    /// The mean loss of predicting `labels` from `logits`; rows labelled `ignore` are left out.
    pub fn cross_entropy(&self, logits: Value, labels: Value, ignore: i64) -> Value {
        self.apply1(CrossEntropy { ignore }, &[logits, labels])
    }
}
