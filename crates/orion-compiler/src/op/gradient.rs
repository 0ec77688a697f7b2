//! Gradients of composites as operations of their own, so that a backend can run them fused. Nothing about them is
//! written by hand: types and meaning follow from the composite's definition, differentiated.

use super::{Composite, Op, Sample};
use crate::TensorType;
use crate::grad::backward;
use crate::ir::attribute::{Attribute, AttributeError, AttributeValue, Attributes};
use crate::ir::builder::{Builder, Value};
use crate::ir::types::TypeError;
use crate::pass::expand::expand_composites;

/// The vector-Jacobian product of a composite. Operands: the composite's own, then the gradient of its result. Results: the
/// gradients of the operands that `of` lists.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientOf<C> {
    /// The composite.
    pub op: C,
    /// Indices of the operands whose gradients are given, in the order of the results.
    pub of: Vec<usize>,
}

impl<C: Attributes> Attributes for GradientOf<C> {
    const ABOUT: &'static [&'static str] = C::ABOUT;
    const FIELDS: &'static [(&'static str, &'static [&'static str])] = C::FIELDS;

    fn write(&self) -> Vec<(&'static str, Attribute)> {
        let mut fields = self.op.write();
        fields.push(("of", self.of.to_attribute()));
        fields
    }

    fn write_bits(&self, out: &mut Vec<u8>) {
        self.op.write_bits(out);
        self.of.write_bits(out);
    }

    fn read(fields: &[(String, Attribute)]) -> Result<Self, AttributeError> {
        let (of, own): (Vec<_>, Vec<_>) =
            fields.iter().cloned().partition(|(name, _)| name == "of");
        let [(_, list)] = of.as_slice() else {
            return Err(AttributeError(
                "attribute `of` must list the operands whose gradients are wanted, once".to_owned(),
            ));
        };
        let of = Vec::from_attribute(list).ok_or_else(|| {
            AttributeError(format!("attribute `of` must be a list of operands, found {list}"))
        })?;
        Ok(Self { op: C::read(&own)?, of })
    }
}

impl<C: Composite + Into<Op>> GradientOf<C> {
    /// Types of the results, or why the operands do not fit.
    pub(super) fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, TypeError> {
        let Some((gradient, operands)) = inputs.split_last() else {
            return Err(TypeError::new("takes operands and the gradient of the result"));
        };
        let result = self.op.clone().into().infer(operands)?;
        if result.first() != Some(gradient) {
            let result = result.first().map_or_else(String::new, ToString::to_string);
            return Err(TypeError(format!(
                "the result is {result}, so its gradient cannot be {gradient}"
            )));
        }
        let of = |&index: &usize| match operands.get(index) {
            Some(ty) if ty.dtype.is_dense_float() => Ok(ty.clone()),
            Some(ty) => Err(TypeError(format!("operand {index} is {ty} and has no gradient"))),
            None => Err(TypeError(format!("there is no operand {index}"))),
        };
        if self.of.is_empty() {
            return Err(TypeError::new("`of` lists no operand"));
        }
        self.of.iter().map(of).collect()
    }

    /// The composite's definition and its way back.
    pub(super) fn expand(&self, b: &Builder, inputs: &[Value]) -> Vec<Value> {
        let wrong = || vec![b.wrong_operands("gradient", "operands and a gradient", inputs)];
        let Some((&gradient, operands)) = inputs.split_last() else { return wrong() };
        let types: Vec<TensorType> = operands.iter().map(|&value| b.type_of(value)).collect();
        let definition = super::composite::expansion(&self.op.clone().into(), &types)
            .and_then(|program| {
                expand_composites(&program, &|_, _| false).map_err(|error| error.error)
            })
            .map_err(|error| b.fail("gradient", error));
        let Ok(definition) = definition else { return vec![gradient; self.of.len()] };

        let (nodes, results) = b.inline(&definition, operands);
        let Some(&result) = results.first() else { return wrong() };
        let roots: Vec<Value> =
            self.of.iter().filter_map(|&index| operands.get(index).copied()).collect();
        backward(b, &nodes, &[(result, gradient)], &roots)
            .into_iter()
            .zip(&roots)
            .map(|(found, &root)| found.unwrap_or_else(|| b.fill(&b.type_of(root), 0.0)))
            .collect()
    }

    /// The composite's samples, with gradients of all real operands and of the first of them alone.
    pub(super) fn samples() -> Vec<Sample>
    where
        Op: From<Self>,
    {
        C::samples().into_iter().flat_map(|sample| Self::of_sample(&sample)).collect()
    }

    fn of_sample(sample: &Sample) -> Vec<Sample>
    where
        Op: From<Self>,
    {
        let types: Vec<TensorType> = sample.inputs.iter().map(|(ty, _)| ty.clone()).collect();
        let fields: Vec<_> = (sample.op.attributes().into_iter())
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let result = sample.op.infer(&types).ok().and_then(|results| results.into_iter().next());
        let (Some(result), Ok(op)) = (result, C::read(&fields)) else { return Vec::new() };
        let real = |&index: &usize| types[index].dtype.is_dense_float();
        let all: Vec<usize> = (0..types.len()).filter(real).collect();
        let mut choices = vec![all.clone()];
        if all.len() > 1 {
            choices.push(all[..1].to_vec());
        }
        let gradient = |of| Sample {
            op: Self { op: op.clone(), of }.into(),
            inputs: [&sample.inputs[..], &[(result.clone(), -2.0..2.0)]].concat(),
        };
        choices.into_iter().filter(|of| !of.is_empty()).map(gradient).collect()
    }
}
