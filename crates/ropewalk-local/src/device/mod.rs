//! Layers on other devices than the CPU: NVIDIA and Apple GPUs, by candle.
//!
//! The same [`ModelSpec`] and the same tensors make the same decoder there;
//! everything else (sampling, chat, batches) does not notice. Three features:
//!
//! | feature | devices | takes |
//! | --- | --- | --- |
//! | `candle` | [`Device::CandleCpu`] | nothing more; it shows that the code for devices is right |
//! | `cuda` | [`Device::Cuda`] | the CUDA toolkit with `nvcc` |
//! | `metal` | [`Device::Metal`] | macOS |
//!
//! Keys and values lie in tensors of the whole context, made when a sequence begins; new ones are
//! written in place and attention reads a view of those in use. No step of decoding copies them.
//!
//! ```no_run
//! use ropewalk_local::device::{Device, DeviceBudget};
//! use ropewalk_local::{LoadOptions, Model};
//!
//! # fn main() -> ropewalk_local::Result<()> {
//! // All of it on one device, or an error.
//! let options = LoadOptions::default().with_device(Device::Cuda(0));
//! let model = Model::open("model.gguf", &options)?;
//!
//! // As many layers as fit 8 GB, the rest on the CPU.
//! let budget = DeviceBudget::new(Device::Cuda(0)).with_bytes(8 << 30);
//! let options = LoadOptions::default().with_devices([budget]);
//! let model = Model::open("model.gguf", &options)?;
//! if let Some(plan) = model.device_plan() {
//!     println!("{plan}");
//! }
//! # Ok(()) }
//! ```

mod plan;
mod sizes;

#[cfg(not(feature = "candle"))]
mod absent;
#[cfg(feature = "candle")]
mod attention;
#[cfg(feature = "candle")]
mod bandwidth;
#[cfg(feature = "candle")]
mod cache;
#[cfg(feature = "candle")]
mod experts;
#[cfg(feature = "candle")]
mod layer;
#[cfg(feature = "candle")]
mod load;
#[cfg(feature = "candle")]
mod part;
#[cfg(feature = "candle")]
mod tensor;

use std::fmt;
use std::str::FromStr;

use ropewalk_spec::{ModelSpec, TensorSource};

use crate::{Error, LoadOptions, Result};

pub use plan::{DevicePlan, Place};
pub use sizes::{DeviceBudget, ModelSizes};

#[cfg(not(feature = "candle"))]
pub use absent::bandwidth;
#[cfg(not(feature = "candle"))]
pub(crate) use absent::{DeviceCache, Part};
#[cfg(feature = "candle")]
pub use bandwidth::bandwidth;
#[cfg(feature = "candle")]
pub(crate) use cache::DeviceCache;
#[cfg(feature = "candle")]
pub(crate) use part::Part;

/// Where layers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Device {
    /// The CPU, by the kernels of this crate.
    #[default]
    Cpu,
    /// The CPU, by candle (feature `candle`). Slower than [`Cpu`](Self::Cpu); it runs what the
    /// other devices run and so shows that it is right where there is no GPU.
    CandleCpu,
    /// The NVIDIA GPU of this number (feature `cuda`).
    Cuda(usize),
    /// The Apple GPU of this number (feature `metal`).
    Metal(usize),
}

impl Device {
    /// Returns the feature of this crate that the device takes, if it takes one.
    #[must_use]
    pub const fn feature(self) -> Option<&'static str> {
        match self {
            Self::Cpu => None,
            Self::CandleCpu => Some("candle"),
            Self::Cuda(_) => Some("cuda"),
            Self::Metal(_) => Some("metal"),
        }
    }

    /// Returns whether this build has the feature that the device takes; the device itself may
    /// still be missing.
    #[must_use]
    pub const fn is_built(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::CandleCpu => cfg!(feature = "candle"),
            Self::Cuda(_) => cfg!(feature = "cuda"),
            Self::Metal(_) => cfg!(feature = "metal"),
        }
    }

    /// Refuses a device that this build cannot use.
    pub(crate) fn check(self) -> Result<()> {
        match self.feature() {
            Some(feature) if !self.is_built() => Err(Error::DeviceFeature {
                device: self,
                feature,
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Device {
    /// Writes what [`FromStr`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Cpu => "cpu".to_owned(),
            Self::CandleCpu => "candle-cpu".to_owned(),
            Self::Cuda(n) => format!("cuda:{n}"),
            Self::Metal(n) => format!("metal:{n}"),
        };
        f.pad(&text)
    }
}

impl FromStr for Device {
    type Err = Error;

    /// Reads `cpu`, `candle-cpu`, `cuda`, `cuda:1`, `metal` or `metal:0`.
    fn from_str(text: &str) -> Result<Self> {
        let (name, number) = text.split_once(':').unwrap_or((text, "0"));
        let plain = !text.contains(':');
        let found = number.parse().ok().and_then(|n: usize| match name {
            "cpu" if plain => Some(Self::Cpu),
            "candle-cpu" if plain => Some(Self::CandleCpu),
            "cuda" => Some(Self::Cuda(n)),
            "metal" => Some(Self::Metal(n)),
            _ => None,
        });
        found.ok_or_else(|| Error::Option {
            name: "device",
            value: text.to_owned(),
            allowed: "cpu, candle-cpu, cuda, cuda:NUMBER, metal or metal:NUMBER",
        })
    }
}

/// The element type of weight matrices on a device. Norms, biases and the residual stream are f32
/// always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DeviceDtype {
    /// As the file has them: f32, f16, bf16, and of the quantised types Q4_0, Q4_1, Q5_0, Q5_1,
    /// Q8_0 and Q2_K to Q6_K. Other quantised types become f16.
    #[default]
    Stored,
    /// 32-bit floats, whatever the file has.
    F32,
    /// 16-bit floats with 5 exponent bits.
    F16,
    /// 16-bit floats with 8 exponent bits.
    Bf16,
}

/// Where the layers of a model go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Placement {
    /// All of it on the CPU, by the kernels of this crate.
    #[default]
    Cpu,
    /// All of it on one device; loading fails where it does not fit.
    Device(Device),
    /// In order on the first of these with room, the rest on the CPU: [`DevicePlan::auto`].
    Auto(Vec<DeviceBudget>),
    /// As a plan says.
    Plan(DevicePlan),
}

/// Makes the plan that the options ask for; `None` means the CPU alone.
///
/// What has no meaning on a device is refused: weights that are coded while they are loaded.
pub(crate) fn plan(
    spec: &ModelSpec,
    source: &dyn TensorSource,
    options: &LoadOptions,
    context: usize,
) -> Result<Option<DevicePlan>> {
    let (dtype, cache) = (options.device_dtype, options.cache);
    if options.placement != Placement::Cpu && options.quantize.is_some() {
        return Err(Error::Option {
            name: "quantising while loading",
            value: "on together with devices".to_owned(),
            allowed: "a file that is quantised already, or `LoadOptions::with_device_dtype`",
        });
    }
    if options.placement != Placement::Cpu && !options.merged.is_empty() {
        return Err(Error::Option {
            name: "merging adapters while loading",
            value: "on together with devices".to_owned(),
            allowed: "a model that was saved with its adapters merged",
        });
    }
    let sizes = || ModelSizes::measure(spec, source, dtype, cache, (context, 1));
    let plan = match &options.placement {
        Placement::Cpu => return Ok(None),
        Placement::Device(device) => {
            device.check()?;
            DevicePlan::all_on(*device, &sizes()?)
        }
        Placement::Auto(budgets) => {
            let budgets: Vec<DeviceBudget> = budgets
                .iter()
                .map(|b| b.resolved())
                .collect::<Result<_>>()?;
            DevicePlan::auto(&sizes()?, &budgets)
        }
        Placement::Plan(plan) => plan.clone(),
    };
    plan.check(spec.layers)?;
    Ok((plan.layers_on_devices() > 0).then_some(plan))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for device in [
            Device::Cpu,
            Device::CandleCpu,
            Device::Cuda(0),
            Device::Cuda(3),
            Device::Metal(1),
        ] {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for bad in [
            "",
            "gpu",
            "cuda:",
            "cuda:-1",
            "cuda:x",
            "cpu:0",
            "metal:1:2",
        ] {
            let e = bad.parse::<Device>().unwrap_err();
            assert!(e.to_string().starts_with("device is "), "{e}");
        }
    }

    #[test]
    fn builds_say_what_they_lack() {
        for device in [Device::CandleCpu, Device::Cuda(0), Device::Metal(0)] {
            match device.check() {
                Ok(()) => assert!(device.is_built()),
                Err(e) => {
                    let feature = device.feature().unwrap();
                    let want = format!("built without feature `{feature}`");
                    assert!(e.to_string().contains(&want), "{e}");
                }
            }
        }
        assert!(Device::Cpu.check().is_ok());
    }
}
