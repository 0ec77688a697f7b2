//! Parameters of a model that has not learned anything yet, as GPT-2 set them (Radford et al., 2019): matrices from a
//! normal distribution of deviation 0.02, those that add to the residual stream narrower by √(2 · layers), norms at
//! one, biases at zero.

use orion_compiler::TensorType;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

use super::{Parameter, TrainingProgram};
use crate::model::Architecture;

const DEVIATION: f32 = 0.02;

/// The parameters of `training` before its first step; the same seed gives the same ones.
pub fn new_parameters(
    training: &TrainingProgram,
    architecture: &Architecture,
    layers: usize,
    seed: u64,
) -> Vec<Parameter> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let residual = DEVIATION / (2.0 * layers.max(1) as f32).sqrt();
    let values = |name: &str, ty: &TensorType| -> Vec<f32> {
        if ty.rank() < 2 {
            let value = if is_bias(name) { 0.0 } else { 1.0 };
            return vec![value; ty.elements()];
        }
        let module = name.rsplit('.').nth(1).unwrap_or_default();
        let is_residual = architecture.residual_projections.contains(&module);
        let deviation = if is_residual { residual } else { DEVIATION };
        let mut normal = || -> f32 { StandardNormal.sample(&mut random) };
        (0..ty.elements()).map(|_| deviation * normal()).collect()
    };
    training.parameters_with(values)
}

fn is_bias(name: &str) -> bool {
    name.rsplit('.').next() == Some("bias")
}

#[cfg(test)]
mod tests {
    use super::super::ProgramOptions;
    use super::*;
    use crate::block::Weights;
    use crate::model::ARCHITECTURES;

    #[test]
    fn parameters_have_the_deviations_of_gpt2() {
        for architecture in ARCHITECTURES {
            let model = (architecture.configure)(&(architecture.tiny)()).unwrap();
            let training =
                TrainingProgram::new(&*model, Weights::New, 1, 8, &ProgramOptions::default())
                    .unwrap();
            let make = |seed| new_parameters(&training, architecture, 2, seed);
            let parameters = make(7);
            assert_eq!(parameters, make(7));
            assert_ne!(parameters[0].values, make(8)[0].values);
            for parameter in &parameters {
                let count = parameter.values.len() as f64;
                let mean = parameter.values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
                let square = |&x: &f32| (f64::from(x) - mean).powi(2);
                let deviation = (parameter.values.iter().map(square).sum::<f64>() / count).sqrt();
                let expected = match parameter.name.as_str() {
                    name if is_bias(name) => (0.0, 0.0),
                    _ if parameter.ty.rank() < 2 => (1.0, 0.0),
                    name if ["o_proj", "down_proj", "c_proj"].iter().any(|p| name.contains(p)) => {
                        (0.0, 0.01)
                    }
                    _ => (0.0, 0.02),
                };
                let near = |found: f64, wanted: f64| (found - wanted).abs() < 0.002;
                assert!(
                    near(mean, expected.0) && near(deviation, expected.1),
                    "{}: mean {mean}, deviation {deviation}",
                    parameter.name
                );
            }
        }
    }
}
