//! How a model is loaded and run.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use ropewalk_gguf::TensorType;
use ropewalk_kernels::Isa;
use ropewalk_tokens::tool_calls::ToolCallFormat;

#[cfg(not(feature = "hub"))]
use crate::Error;
use crate::device::{Device, DeviceBudget, DeviceDtype, DevicePlan, Placement};
use crate::{AdapterSource, CacheType, LoadQuantize, Result};

/// Reports how many of how many parts are loaded: the layers, and the output head as the last.
pub type LoadProgress = Arc<dyn Fn(usize, usize) + Send + Sync>;

/// How to load and run a model.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Threads that compute; `None` means as many as the process may use.
    pub threads: Option<NonZeroUsize>,
    /// Tokens that one sequence may hold; `None` means what the model was made for, at most 4,096.
    pub context: Option<usize>,
    /// How keys and values are stored.
    pub cache: CacheType,
    /// Instruction set; `None` means the best of this machine.
    pub isa: Option<Isa>,
    /// Called after each layer and after the output head.
    pub progress: Option<LoadProgress>,
    /// How the model writes tool calls; `None` means as its chat template does, or in any known format if the template
    /// does not show one. Only chats use it.
    pub tool_calls: Option<ToolCallFormat>,
    /// How weights are coded while they are loaded; `None` means as they are stored.
    pub quantize: Option<LoadQuantize>,
    /// Adapters that become part of the weights, and their scales.
    pub merged: Vec<(AdapterSource, f32)>,
    /// The type of weights that adapters were merged into; `None` means as they are stored.
    pub merged_type: Option<TensorType>,
    /// Whether passes measure where their time goes, for [`Model::take_profile`](crate::Model::take_profile).
    pub profile: bool,
    /// Where the layers go; the CPU unless said otherwise.
    pub placement: Placement,
    /// The type of weight matrices on devices.
    pub device_dtype: DeviceDtype,
    /// Where models come from whose path begins with `hf:`.
    #[cfg(feature = "hub")]
    pub hub: Option<crate::hub::Hub>,
}

impl std::fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadOptions")
            .field("threads", &self.threads)
            .field("context", &self.context)
            .field("cache", &self.cache)
            .field("isa", &self.isa)
            .field("tool_calls", &self.tool_calls)
            .field("quantize", &self.quantize)
            .field("merged", &self.merged)
            .field("merged_type", &self.merged_type)
            .field("profile", &self.profile)
            .field("placement", &self.placement)
            .field("device_dtype", &self.device_dtype)
            .finish_non_exhaustive()
    }
}

impl LoadOptions {
    /// Sets the number of threads.
    #[must_use]
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets how many tokens one sequence may hold.
    #[must_use]
    pub fn with_context(mut self, tokens: usize) -> Self {
        self.context = Some(tokens);
        self
    }

    /// Sets how keys and values are stored.
    #[must_use]
    pub fn with_cache(mut self, kind: CacheType) -> Self {
        self.cache = kind;
        self
    }

    /// Sets the instruction set.
    #[must_use]
    pub fn with_isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Sets how the model writes tool calls.
    #[must_use]
    pub fn with_tool_calls(mut self, format: ToolCallFormat) -> Self {
        self.tool_calls = Some(format);
        self
    }

    /// Codes weights while they are loaded, one after another: a directory or a file in F32, F16 or
    /// BF16 takes no more memory than the result and one weight.
    #[must_use]
    pub fn with_quantize(mut self, rule: LoadQuantize) -> Self {
        self.quantize = Some(rule);
        self
    }

    /// Merges an adapter into the weights while they are loaded, after those that were given before:
    /// `W + scale * B A` in f32, one weight after another. A weight that is stored in another type is
    /// decoded before and coded in the same type after, which rounds once more;
    /// [`with_merged_type`](Self::with_merged_type) or [`with_quantize`](Self::with_quantize) give
    /// another type.
    #[must_use]
    pub fn with_merged(mut self, adapter: impl Into<AdapterSource>, scale: f32) -> Self {
        self.merged.push((adapter.into(), scale));
        self
    }

    /// Keeps weights that an adapter was merged into as F32, F16 or BF16, whatever they are stored as; without
    /// [`with_merged`](Self::with_merged) there are none.
    #[must_use]
    pub fn with_merged_type(mut self, ty: TensorType) -> Self {
        self.merged_type = Some(ty);
        self
    }

    /// Measures where the time of passes goes; [`Model::take_profile`](crate::Model::take_profile) tells.
    #[must_use]
    pub fn with_profile(mut self, on: bool) -> Self {
        self.profile = on;
        self
    }

    /// Puts the whole model on one device; loading fails where it does not fit.
    #[must_use]
    pub fn with_device(mut self, device: Device) -> Self {
        self.placement = match device {
            Device::Cpu => Placement::Cpu,
            _ => Placement::Device(device),
        };
        self
    }

    /// Puts the layers, in order, on the first of these devices with room and the rest on the CPU
    /// ([`DevicePlan::auto`]).
    #[must_use]
    pub fn with_devices(mut self, budgets: impl IntoIterator<Item = DeviceBudget>) -> Self {
        self.placement = Placement::Auto(budgets.into_iter().collect());
        self
    }

    /// Puts the layers where a plan says.
    #[must_use]
    pub fn with_device_plan(mut self, plan: DevicePlan) -> Self {
        self.placement = Placement::Plan(plan);
        self
    }

    /// Sets the type of weight matrices on devices; on the CPU they stay as they are.
    #[must_use]
    pub fn with_device_dtype(mut self, dtype: DeviceDtype) -> Self {
        self.device_dtype = dtype;
        self
    }

    /// Fetches models whose path begins with `hf:`; see [`hub`](crate::hub).
    #[cfg(feature = "hub")]
    #[must_use]
    pub fn with_hub(mut self, hub: crate::hub::Hub) -> Self {
        self.hub = Some(hub);
        self
    }

    /// Reports progress while loading.
    #[must_use]
    pub fn with_progress(mut self, f: impl Fn(usize, usize) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(f));
        self
    }
}

impl LoadOptions {
    /// Returns the path on this machine of what a path names: itself, or what `hf:` stands for.
    pub(crate) fn locate<'a>(&self, path: &'a Path) -> Result<Cow<'a, Path>> {
        #[cfg(feature = "hub")]
        return crate::hub::locate(path, self);
        #[cfg(not(feature = "hub"))]
        match path.to_str() {
            Some(text) if text.starts_with("hf:") => Err(Error::Path {
                path: path.to_owned(),
                reason: "models of the Hub need the feature `hub` of ropewalk-local".to_owned(),
            }),
            _ => Ok(Cow::Borrowed(path)),
        }
    }
}
