//! Families from outside of this crate, and names that are not in its tables.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::{Error, ModelSpec, NameLayout, Result, SafetensorsDir, TensorData, TensorSource, hf};

/// A family that a program brings along: what its `config.json` means and how its weights are
/// called.
///
/// The guide "model families" builds one from end to end.
pub trait Architecture: Send + Sync {
    /// The entry of `architectures` in `config.json` that this family answers to.
    fn name(&self) -> &str;

    /// Reads the content of a `config.json`.
    ///
    /// # Errors
    /// Whatever is missing or unusable; [`Error::InvalidKey`] and [`Error::MissingKey`] are
    /// meant for it.
    fn spec(&self, config: &Value) -> Result<ModelSpec>;

    /// The weights under the names of the family that [`spec`](Self::spec) chose; the same
    /// source where the names are the same. See [`Renamed`].
    fn tensors(&self, stored: Arc<dyn TensorSource>) -> Arc<dyn TensorSource> {
        stored
    }
}

/// The families of this crate and those that a program adds.
#[derive(Clone, Default)]
pub struct Registry {
    added: Vec<Arc<dyn Architecture>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.added.iter().map(|a| a.name()).collect();
        f.debug_struct("Registry").field("added", &names).finish()
    }
}

impl Registry {
    /// The families of this crate alone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a family. It goes before those that are there already, the crate's own included.
    #[must_use]
    pub fn with(mut self, architecture: impl Architecture + 'static) -> Self {
        self.added.insert(0, Arc::new(architecture));
        self
    }

    /// Reads a model directory: what the model is, and its weights.
    ///
    /// The two go to `Model::from_parts` of `ropewalk-local`. Weights that bitsandbytes packed are
    /// not decoded here; `Model::open` does that. Of a family from outside, what
    /// `generation_config.json` says is not read.
    ///
    /// # Errors
    /// Those of [`ModelSpec::from_dir`] and [`SafetensorsDir::open`], and of the family.
    pub fn open(&self, dir: impl AsRef<Path>) -> Result<(ModelSpec, Arc<dyn TensorSource>)> {
        let dir = dir.as_ref();
        let config = hf::json::read(&dir.join("config.json"))?;
        let name = config.get("architectures").and_then(|list| list.get(0));
        let stored = Arc::new(SafetensorsDir::open(dir)?);
        let mut added = self.added.iter();
        let Some(found) = added.find(|a| name.and_then(Value::as_str) == Some(a.name())) else {
            return Ok((ModelSpec::from_dir(dir)?, stored));
        };
        let spec = found.spec(&config)?;
        spec.validate()?;
        Ok((spec, found.tensors(stored)))
    }
}

/// What gives the stored name of a tensor.
type Rename = dyn Fn(&str) -> String + Send + Sync;

/// A source whose tensors have other names than those that are asked for.
///
/// ```
/// use std::sync::Arc;
/// use ropewalk_gguf::TensorType;
/// use ropewalk_spec::testing::MemorySource;
/// use ropewalk_spec::{NameLayout, Renamed, TensorSource};
///
/// let mut stored = MemorySource::new(NameLayout::HuggingFace);
/// stored.insert("net.norm", vec![1], TensorType::F32, 1f32.to_le_bytes().to_vec());
/// let named = Renamed::new(Arc::new(stored), |name| name.replace("model.norm.weight", "net.norm"));
/// assert_eq!(named.tensor("model.norm.weight")?.unwrap().shape, [1]);
/// # Ok::<(), ropewalk_spec::Error>(())
/// ```
#[derive(Clone)]
pub struct Renamed {
    stored: Arc<dyn TensorSource>,
    rename: Arc<Rename>,
}

impl std::fmt::Debug for Renamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renamed")
            .field("layout", &self.stored.layout())
            .finish_non_exhaustive()
    }
}

impl Renamed {
    /// Looks a tensor up under the name that `rename` makes of the one asked for.
    #[must_use]
    pub fn new(
        stored: Arc<dyn TensorSource>,
        rename: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        Self {
            stored,
            rename: Arc::new(rename),
        }
    }
}

impl TensorSource for Renamed {
    fn layout(&self) -> NameLayout {
        self.stored.layout()
    }

    /// The stored names.
    fn names(&self) -> Vec<String> {
        self.stored.names()
    }

    fn tensor(&self, name: &str) -> Result<Option<TensorData<'_>>> {
        self.stored.tensor(&(self.rename)(name))
    }

    fn shape(&self, name: &str) -> Result<Option<Vec<usize>>> {
        self.stored.shape(&(self.rename)(name))
    }

    fn release(&self, data: &[u8]) {
        self.stored.release(data);
    }
}

impl Error {
    /// A key of a configuration that holds something unusable; `problem` goes after its name.
    #[must_use]
    pub fn invalid_key(file: &str, key: &str, problem: &str) -> Self {
        Self::InvalidKey {
            file: file.to_owned(),
            key: key.to_owned(),
            problem: problem.to_owned(),
        }
    }
}
