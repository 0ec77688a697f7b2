//! Any operation, by the interpreter: for nodes that no kernel claims.

use orion_compiler::{Op, Precision, Tensor, TensorType, ValueId};

use super::{At, Claim, Step};
use crate::cpu::frame::{Frame, Place, encode};
use crate::cpu::store::WeightStore;

struct Interpret {
    op: Op,
    inputs: Vec<(Operand, TensorType)>,
    outputs: Vec<(Place, TensorType)>,
}

enum Operand {
    At(Place),
    /// A weight, decoded.
    Weight(Tensor),
}

pub(super) fn claim(at: At<'_>) -> Claim {
    let planning = at.planning;
    let typed = |value: &ValueId| (*value, planning.program.type_of(*value).clone());
    let inputs: Vec<_> = at
        .node
        .inputs
        .iter()
        .map(typed)
        .map(|(value, ty)| {
            let weight =
                planning.weight(value).map(|index| planning.program.weights()[index].name.clone());
            (value, ty, weight)
        })
        .collect();
    let outputs: Vec<_> = at.node.outputs.iter().map(typed).collect();
    let op = at.node.op.clone();
    let make = move |places: &crate::cpu::plan::Places, store: &mut WeightStore| {
        let operand = |(value, ty, weight): (ValueId, TensorType, Option<String>)| {
            let operand = match weight {
                Some(name) => {
                    let values = store.dense(&name, &ty)?.iter().map(|&x| f64::from(x)).collect();
                    Operand::Weight(Tensor::real(ty.clone(), values))
                }
                None => Operand::At(places.of(value)),
            };
            Ok((operand, ty))
        };
        let inputs = inputs.into_iter().map(operand).collect::<Result<_, crate::CompileError>>()?;
        let outputs = outputs.into_iter().map(|(value, ty)| (places.of(value), ty)).collect();
        Ok(Box::new(Interpret { op, inputs, outputs }) as Box<dyn Step>)
    };
    let mut claim = Claim::node(at.id, at.node, Box::new(make));
    claim.reads.retain(|&value| planning.weight(value).is_none());
    claim
}

impl Step for Interpret {
    fn run(&self, frame: &mut Frame<'_>) {
        let operands: Vec<Tensor> = self
            .inputs
            .iter()
            .map(|(operand, ty)| match operand {
                Operand::At(place) => frame.tensor(*place, ty),
                Operand::Weight(tensor) => tensor.clone(),
            })
            .collect();
        let operands: Vec<&Tensor> = operands.iter().collect();
        let types: Vec<TensorType> = self.outputs.iter().map(|(_, ty)| ty.clone()).collect();
        let results = self.op.eval(&operands, &types, Precision::Declared);
        for ((place, ty), result) in self.outputs.iter().zip(results) {
            let mut buffer = frame.take(*place, ty.elements());
            encode(&result.rounded(), &mut buffer);
            frame.put(*place, buffer);
        }
    }
}
