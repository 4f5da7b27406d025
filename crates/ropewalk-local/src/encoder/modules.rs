//! The steps from hidden states to a vector.

use std::sync::Arc;

use ropewalk_kernels::{Format, Isa, Matrix, Pool, ops};
use ropewalk_spec::{
    DenseSpec, PoolingMode, PoolingSpec, SafetensorsDir, SentenceModule, SentenceSpec, TensorSource,
};

use super::head::linear;
use super::pooling::{normalize, pool};
use super::weights::Linear;
use crate::{Error, Result};

/// A dense module with its weights.
#[derive(Debug)]
struct Dense {
    linear: Linear,
    tanh: bool,
}

#[derive(Debug)]
enum Step {
    Dense(Dense),
    Normalize,
}

/// What follows the network: pooling first, then other steps.
#[derive(Debug)]
pub(super) struct Modules {
    pub(super) pooling: PoolingSpec,
    steps: Vec<Step>,
    /// Features of a hidden state.
    hidden: usize,
    /// Features of a vector.
    pub(super) width: usize,
    isa: Isa,
}

impl Modules {
    /// Reads the weights of dense modules.
    pub(super) fn new(spec: &SentenceSpec, hidden: usize, isa: Isa) -> Result<Self> {
        let pool = Pool::new(std::num::NonZeroUsize::MIN);
        let mut out = Self {
            pooling: PoolingSpec::new(PoolingMode::Mean),
            steps: Vec::new(),
            hidden,
            width: hidden,
            isa,
        };
        for module in &spec.modules {
            match module {
                SentenceModule::Pooling(pooling) => {
                    out.width = pooling.modes.len().saturating_mul(hidden);
                    out.pooling = pooling.clone();
                }
                SentenceModule::Dense(dense) => {
                    if dense.inputs != out.width {
                        return Err(Error::Shape {
                            name: format!("{}: in_features", dense.dir.display()),
                            found: vec![dense.inputs],
                            wanted: vec![out.width],
                        });
                    }
                    out.width = dense.outputs;
                    out.steps.push(Step::Dense(load(dense, isa, &pool)?));
                }
                SentenceModule::Normalize => out.steps.push(Step::Normalize),
                other => {
                    return Err(Error::Option {
                        name: "module",
                        value: format!("{other:?}"),
                        allowed: "Pooling, Dense or Normalize",
                    });
                }
            }
        }
        Ok(out)
    }

    /// Adds or takes away a division by the norm at the end.
    pub(super) fn set_normalized(&mut self, on: bool) {
        if self.normalized() && !on {
            self.steps.pop();
        } else if !self.normalized() && on {
            self.steps.push(Step::Normalize);
        }
    }

    /// Whether vectors have length 1.
    pub(super) fn normalized(&self) -> bool {
        matches!(self.steps.last(), Some(Step::Normalize))
    }

    /// Pools the hidden states of one text, the first `skip` of which are a prompt's.
    pub(super) fn pool(&self, rows: &[f32], skip: usize) -> Vec<f32> {
        let skip = if self.pooling.include_prompt { 0 } else { skip };
        let mut out = Vec::with_capacity(self.pooling.modes.len() * self.hidden);
        pool(
            self.isa,
            &self.pooling.modes,
            self.hidden,
            rows,
            skip,
            &mut out,
        );
        out
    }

    /// Takes pooled vectors through the other steps, and cuts them to `dimensions`.
    ///
    /// Vectors that have length 1 get it again after they were cut.
    pub(super) fn finish(
        &self,
        pool: &Pool,
        vectors: &mut [Vec<f32>],
        dimensions: Option<usize>,
    ) -> Result<()> {
        for step in &self.steps {
            match step {
                Step::Normalize => vectors.iter_mut().for_each(|v| normalize(v)),
                Step::Dense(dense) => dense.apply(pool, self.isa, vectors)?,
            }
        }
        let Some(dimensions) = dimensions.filter(|&d| d < self.width) else {
            return Ok(());
        };
        for vector in vectors {
            vector.truncate(dimensions);
            if self.normalized() {
                normalize(vector);
            }
        }
        Ok(())
    }
}

impl Dense {
    fn apply(&self, pool: &Pool, isa: Isa, vectors: &mut [Vec<f32>]) -> Result<()> {
        let mut out = linear(pool, isa, &self.linear, &vectors.concat())?;
        if self.tanh {
            // `cap tanh(x / cap)` with a cap of 1.
            ops::softcap(isa, &mut out, 1.0);
        }
        let rows = out.chunks_exact(self.linear.weights.rows());
        for (vector, row) in vectors.iter_mut().zip(rows) {
            *vector = row.to_vec();
        }
        Ok(())
    }
}

fn load(spec: &DenseSpec, isa: Isa, pool: &Pool) -> Result<Dense> {
    let source: Arc<dyn TensorSource> = Arc::new(SafetensorsDir::open(&spec.dir)?);
    let (n, k) = (spec.outputs, spec.inputs);
    let read = |name: &str, wanted: Vec<usize>| -> Result<Vec<f32>> {
        let found = source.tensor(name)?.ok_or_else(|| Error::MissingTensor {
            name: format!("{}: {name}", spec.dir.display()),
        })?;
        if found.shape != wanted {
            return Err(Error::Shape {
                name: format!("{}: {name}", spec.dir.display()),
                found: found.shape,
                wanted,
            });
        }
        let mut out = vec![0.0; wanted.iter().product()];
        ropewalk_gguf::dequantize(found.ty, &found.data, &mut out)
            .map_err(ropewalk_spec::Error::from)?;
        Ok(out)
    };
    let bias = spec
        .bias
        .then(|| read("linear.bias", vec![n]))
        .transpose()?;
    let values = read("linear.weight", vec![n, k])?;
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Ok(Dense {
        linear: Linear {
            weights: Matrix::pack(isa, Format::F32, &bytes, n, k, pool)?,
            bias,
        },
        tanh: spec.tanh,
    })
}
