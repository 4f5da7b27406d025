//! What stands for devices in a build without any.

use std::convert::Infallible;

use ropewalk_spec::{ModelSpec, TensorSource};

use super::{Device, DeviceDtype, DevicePlan};
use crate::decoder::Span;
use crate::rope::RopeTables;
use crate::{CacheType, Error, Result};

/// Layers on devices: there are none.
#[derive(Debug)]
pub(crate) struct Part(Infallible);

/// What one sequence keeps on devices: nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceCache;

/// Fails: a build without the feature `candle` knows no device whose memory it could measure.
///
/// # Errors
/// [`Error::DeviceFeature`], or [`Error::Option`] for [`Device::Cpu`].
pub fn bandwidth(device: Device, _bytes: usize) -> Result<f64> {
    device.check()?;
    Err(Error::Option {
        name: "the device whose memory is measured",
        value: device.to_string(),
        allowed: "a device other than cpu",
    })
}

impl Part {
    /// Refuses every plan that names a device: this build has none.
    pub(crate) fn load(
        plan: &DevicePlan,
        spec: &ModelSpec,
        _source: &dyn TensorSource,
        _types: (DeviceDtype, CacheType),
        _report: &dyn Fn(usize),
    ) -> Result<Option<Self>> {
        plan.check(spec.layers)?;
        Ok(None)
    }

    pub(crate) fn layers(&self) -> usize {
        match self.0 {}
    }

    pub(crate) fn has_head(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn bytes(&self, _all: bool) -> usize {
        match self.0 {}
    }

    pub(crate) fn plan(&self) -> &DevicePlan {
        match self.0 {}
    }

    pub(crate) fn pass(
        &self,
        _spec: &ModelSpec,
        _rope: &[RopeTables; 2],
        _x: &mut [f32],
        _spans: &mut [Span<'_>],
    ) -> Result<Option<Vec<Vec<f32>>>> {
        match self.0 {}
    }
}
