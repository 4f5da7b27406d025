//! How fast the memory of a device is.

use std::time::{Duration, Instant};

use candle_core::{DType, Tensor};

use super::Device;
use super::tensor::{Done, failed, open};
use crate::Result;

/// Copies that are measured; the first is not.
const ROUNDS: usize = 8;

/// Copies `bytes` bytes within the memory of a device some times and returns the bytes per second
/// that the fastest copy read and wrote.
///
/// Making one token reads every weight, so no engine makes more tokens per second than this divided
/// by [`Model::bytes_per_step`](crate::Model::bytes_per_step). Caches of the device are smaller than
/// 256 MB, a good value for `bytes`.
///
/// # Errors
/// [`Error::DeviceFeature`](crate::Error::DeviceFeature), or
/// [`Error::Device`](crate::Error::Device) where it has not twice that much memory.
pub fn bandwidth(device: Device, bytes: usize) -> Result<f64> {
    let on = open(device)?;
    let measure = || -> Done<Duration> {
        let from = Tensor::ones(bytes.div_ceil(4), DType::F32, &on)?;
        let mut best = Duration::MAX;
        for round in 0..=ROUNDS {
            on.synchronize()?;
            let start = Instant::now();
            let copy = from.copy()?;
            on.synchronize()?;
            if round > 0 {
                best = best.min(start.elapsed());
            }
            drop(copy);
        }
        Ok(best)
    };
    let best = measure().map_err(failed(device, "measuring its memory"))?;
    Ok(2.0 * bytes as f64 / best.as_secs_f64().max(1e-9))
}
