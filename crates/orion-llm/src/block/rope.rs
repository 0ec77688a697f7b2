//! Rotary frequencies (Su et al., 2021) and the ways in which models stretch them over longer contexts.

use serde::Deserialize;

use crate::model::ConfigError;

/// The configuration's fields about rotary positions, in the spelling of transformers 4 (`rope_theta`, `rope_scaling`)
/// or 5 (`rope_parameters`).
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names in config.json")]
pub struct RopeParameters {
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeScaling>,
    rope_parameters: Option<RopeScaling>,
    /// What each pair's frequency is divided by: how GGUF spells Llama 3.1's scaling.
    rope_frequency_factors: Option<Vec<f64>>,
}

/// How frequencies are changed for contexts longer than those of the first training.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RopeScaling {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
}

/// How GGUF says that frequencies are changed.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufRopeScaling {
    /// They are not.
    None,
    /// All are divided by this: `rope.scaling.type = "linear"`, `rope.scaling.factor`.
    Linear(f32),
    /// Each pair's is divided by its own: the tensor `rope_freqs.weight`, `head_dim / 2` values.
    Factors(Vec<f32>),
}

impl RopeParameters {
    /// Radians per position of each of a head's `head_dim / 2` pairs: `theta^(-2i / head_dim)`, scaled.
    pub fn frequencies(&self, head_dim: usize) -> Result<Vec<f64>, ConfigError> {
        let base = self.base(head_dim)?;
        let scaled: Vec<f64> = match self.scaling() {
            Some(scaling) => scaling.apply(base)?,
            None => base,
        };
        match &self.rope_frequency_factors {
            None => Ok(scaled),
            Some(factors) if factors.len() == scaled.len() => Ok(scaled
                .iter()
                .zip(factors)
                .map(|(frequency, factor)| frequency / factor)
                .collect()),
            Some(factors) => Err(ConfigError::Contradiction(format!(
                "{} rope factors for {} pairs of a head",
                factors.len(),
                scaled.len()
            ))),
        }
    }

    /// The scaling of heads of width `head_dim` as GGUF says it.
    pub fn gguf_scaling(&self, head_dim: usize) -> Result<GgufRopeScaling, ConfigError> {
        let (base, scaled) = (self.base(head_dim)?, self.frequencies(head_dim)?);
        match self.scaling().map(|scaling| (scaling.rope_type.as_deref(), scaling.factor)) {
            None | Some((None | Some("default"), _)) => Ok(GgufRopeScaling::None),
            Some((Some("linear"), Some(factor))) => Ok(GgufRopeScaling::Linear(factor as f32)),
            Some(_) => {
                let factors = base.iter().zip(&scaled).map(|(base, scaled)| (base / scaled) as f32);
                Ok(GgufRopeScaling::Factors(factors.collect()))
            }
        }
    }

    fn scaling(&self) -> Option<&RopeScaling> {
        self.rope_parameters.as_ref().or(self.rope_scaling.as_ref())
    }

    /// What the frequencies are before any scaling.
    fn base(&self, head_dim: usize) -> Result<Vec<f64>, ConfigError> {
        let theta = self
            .scaling()
            .and_then(|scaling| scaling.rope_theta)
            .or(self.rope_theta)
            .unwrap_or(10_000.0);
        if !(theta.is_finite() && theta > 0.0) {
            return Err(ConfigError::Contradiction(format!(
                "rope_theta = {theta} must be a positive number"
            )));
        }
        // As transformers does it: powers and reciprocals in f32.
        Ok((0..head_dim / 2)
            .map(|i| f64::from(1.0 / (theta as f32).powf((2 * i) as f32 / head_dim as f32)))
            .collect())
    }
}

impl RopeScaling {
    fn apply(&self, base: Vec<f64>) -> Result<Vec<f64>, ConfigError> {
        let need = |field: &str, value: Option<f64>| {
            value.filter(|x| x.is_finite() && *x > 0.0).ok_or_else(|| {
                ConfigError::Contradiction(format!("rope_scaling needs a positive `{field}`"))
            })
        };
        match self.rope_type.as_deref().unwrap_or("default") {
            "default" => Ok(base),
            "linear" => {
                let factor = need("factor", self.factor)?;
                Ok(base.into_iter().map(|frequency| frequency / factor).collect())
            }
            "llama3" => {
                let factor = need("factor", self.factor)?;
                let low = need("low_freq_factor", self.low_freq_factor)?;
                let high = need("high_freq_factor", self.high_freq_factor)?;
                let trained = need(
                    "original_max_position_embeddings",
                    self.original_max_position_embeddings,
                )?;
                Ok(base
                    .into_iter()
                    .map(|frequency| llama3(frequency, factor, low, high, trained))
                    .collect())
            }
            other => Err(ConfigError::Contradiction(format!(
                "rope_type `{other}` is not supported; known are default, linear and llama3"
            ))),
        }
    }
}

/// Llama 3.1's rule: waves shorter than the trained context divided by `high` stay, those longer than it divided by
/// `low` are slowed by `factor`, and between the two the change is gradual.
fn llama3(frequency: f64, factor: f64, low: f64, high: f64, trained: f64) -> f64 {
    let wavelength = std::f64::consts::TAU / frequency;
    if wavelength < trained / high {
        frequency
    } else if wavelength > trained / low {
        frequency / factor
    } else {
        let smooth = (trained / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}
