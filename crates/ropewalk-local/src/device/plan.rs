//! Which layer goes where.

use std::fmt;
use std::ops::Range;

use super::{Device, DeviceBudget, ModelSizes};
use crate::{Error, Result};

/// Layers that follow each other on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The device.
    pub device: Device,
    /// The layers.
    pub layers: Range<usize>,
    /// Whether output norm and output head are there too.
    pub head: bool,
    /// Bytes of their weights.
    pub weights: u64,
    /// Bytes of their keys and values.
    pub cache: u64,
    /// Bytes of the buffers of a pass.
    pub scratch: u64,
    /// What the model may take; `None` means no limit.
    pub budget: Option<u64>,
}

impl Place {
    fn new(device: Device, budget: Option<u64>, from: usize) -> Self {
        Self {
            device,
            layers: from..from,
            head: false,
            weights: 0,
            cache: 0,
            scratch: 0,
            budget,
        }
    }

    /// Returns the bytes that everything in this place takes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.weights + self.cache + self.scratch
    }

    /// Takes a part if there is room for it.
    fn take(&mut self, weights: u64, cache: u64, scratch: u64) -> bool {
        let first = self.weights == 0;
        let scratch = if first { scratch } else { 0 };
        let after = [self.bytes(), weights, cache, scratch]
            .iter()
            .fold(0u64, |sum, n| sum.saturating_add(*n));
        let fits = self.budget.is_none_or(|budget| after <= budget);
        if fits {
            self.weights += weights;
            self.cache += cache;
            self.scratch += scratch;
        }
        fits
    }
}

/// Which layers go to which device: contiguous runs, in order, the CPU last.
///
/// It prints as a table.
///
/// ```
/// use ropewalk_local::device::{Device, DeviceBudget, DevicePlan, ModelSizes};
///
/// // Four layers of 100 MB and a head of 50 MB; 300 MB are free on the first GPU.
/// let sizes = ModelSizes::new(vec![100 << 20; 4], 50 << 20).with_cache(10 << 20);
/// let budgets = [
///     DeviceBudget::new(Device::Cuda(0)).with_bytes(300 << 20),
///     DeviceBudget::new(Device::Cuda(1)).with_bytes(120 << 20),
/// ];
/// let plan = DevicePlan::auto(&sizes, &budgets);
/// let devices: Vec<Device> = (0..4).filter_map(|layer| plan.device_of(layer)).collect();
/// assert_eq!(devices, [Device::Cuda(0), Device::Cuda(0), Device::Cuda(1), Device::Cpu]);
/// assert_eq!(plan.head(), Device::Cpu);
/// println!("{plan}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePlan {
    places: Vec<Place>,
}

impl DevicePlan {
    /// Puts the layers, in order, on the first device with room, then the output head; what does
    /// not fit goes to the CPU. A device that has been left gets no later layer, so that the rows
    /// of a pass change devices once each.
    ///
    /// Room is the budget less weights, keys and values of one context, and scratch.
    #[must_use]
    pub fn auto(sizes: &ModelSizes, budgets: &[DeviceBudget]) -> Self {
        let mut free = budgets.iter().filter(|b| b.device != Device::Cpu);
        let mut places: Vec<Place> = Vec::new();
        let mut now = free.next().map(|b| Place::new(b.device, b.bytes, 0));
        let layers = sizes.layers.iter().map(|&bytes| (bytes, sizes.cache, true));
        for (weights, cache, is_layer) in layers.chain([(sizes.head, 0, false)]) {
            // The place that takes the part, others having been closed on the way.
            let mut place = loop {
                match now.take() {
                    Some(mut place) => {
                        if place.take(weights, cache, sizes.scratch) {
                            break place;
                        }
                        let end = place.layers.end;
                        places.push(place);
                        now = free.next().map(|b| Place::new(b.device, b.bytes, end));
                    }
                    None => {
                        let end = places.last().map_or(0, |p| p.layers.end);
                        let mut cpu = Place::new(Device::Cpu, None, end);
                        cpu.take(weights, cache, sizes.scratch);
                        break cpu;
                    }
                }
            };
            if is_layer {
                place.layers.end += 1;
            } else {
                place.head = true;
            }
            now = Some(place);
        }
        places.extend(now);
        places.retain(|p| !p.layers.is_empty() || p.head);
        Self { places }
    }

    /// Puts everything on one device, whatever it takes.
    #[must_use]
    pub fn all_on(device: Device, sizes: &ModelSizes) -> Self {
        Self::auto(sizes, &[DeviceBudget::new(device)])
    }

    /// Returns the places in the order of the layers.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Returns where a layer goes; `None` if the model has no such layer.
    #[must_use]
    pub fn device_of(&self, layer: usize) -> Option<Device> {
        let place = self.places.iter().find(|p| p.layers.contains(&layer));
        place.map(|p| p.device)
    }

    /// Returns where output norm and output head go.
    #[must_use]
    pub fn head(&self) -> Device {
        let place = self.places.iter().find(|p| p.head);
        place.map_or(Device::Cpu, |p| p.device)
    }

    /// Returns how many layers are on devices other than the CPU.
    #[must_use]
    pub fn layers_on_devices(&self) -> usize {
        let places = self.places.iter().filter(|p| p.device != Device::Cpu);
        places.map(|p| p.layers.len()).sum()
    }

    /// Returns how many layers there are.
    pub(crate) fn layers(&self) -> usize {
        self.places.last().map_or(0, |p| p.layers.end)
    }

    /// Refuses a plan for a model with another number of layers, or one with devices that this
    /// build lacks.
    pub(crate) fn check(&self, layers: usize) -> Result<()> {
        if self.layers() != layers {
            return Err(Error::Option {
                name: "the device plan",
                value: format!("for {} layers", self.layers()),
                allowed: "one that was made for this model",
            });
        }
        self.places.iter().try_for_each(|p| p.device.check())
    }
}

impl fmt::Display for DevicePlan {
    /// Writes one line per device: layers, bytes, budget.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        writeln!(
            f,
            "{:<12} {:<10} {:>12} {:>12} {:>12} {:>12} {:>12}",
            "device", "layers", "weights MB", "cache MB", "scratch MB", "sum MB", "budget MB"
        )?;
        for p in &self.places {
            let mut layers = match p.layers.len() {
                0 => String::new(),
                1 => p.layers.start.to_string(),
                _ => format!("{}-{}", p.layers.start, p.layers.end - 1),
            };
            if p.head {
                layers.push_str(if layers.is_empty() { "head" } else { " + head" });
            }
            writeln!(
                f,
                "{:<12} {layers:<10} {:>12} {:>12} {:>12} {:>12} {:>12}",
                p.device,
                mb(p.weights),
                mb(p.cache),
                mb(p.scratch),
                mb(p.bytes()),
                p.budget.map_or("-".to_owned(), mb),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes() -> ModelSizes {
        ModelSizes::new(vec![100, 100, 200, 100], 50)
            .with_cache(10)
            .with_scratch(20)
    }

    fn budget(number: usize, bytes: u64) -> DeviceBudget {
        DeviceBudget::new(Device::Cuda(number)).with_bytes(bytes)
    }

    fn ranges(plan: &DevicePlan) -> Vec<(Device, Range<usize>, bool)> {
        let places = plan.places().iter();
        places
            .map(|p| (p.device, p.layers.clone(), p.head))
            .collect()
    }

    #[test]
    fn layers_go_in_order_to_the_first_device_with_room() {
        use Device::{Cpu, Cuda};
        let plan = |budgets: &[DeviceBudget]| ranges(&DevicePlan::auto(&sizes(), budgets));
        assert_eq!(plan(&[]), [(Cpu, 0..4, true)]);
        // 4 layers with their caches, the head and scratch once: 500 + 40 + 50 + 20.
        assert_eq!(plan(&[budget(0, 610)]), [(Cuda(0), 0..4, true)]);
        assert_eq!(
            plan(&[budget(0, 609)]),
            [(Cuda(0), 0..4, false), (Cpu, 4..4, true)]
        );
        assert_eq!(
            plan(&[budget(0, 240), budget(1, 229), budget(2, 400)]),
            [(Cuda(0), 0..2, false), (Cuda(2), 2..4, true)]
        );
        // The third layer fits no device; the fourth does not go back to one.
        assert_eq!(
            plan(&[budget(0, 360), budget(1, 130)]),
            [(Cuda(0), 0..2, false), (Cpu, 2..4, true)]
        );
        assert_eq!(plan(&[budget(0, 10)]), [(Cpu, 0..4, true)]);
        assert_eq!(plan(&[DeviceBudget::new(Cuda(1))]), [(Cuda(1), 0..4, true)]);
    }

    #[test]
    fn places_count_every_byte_once_and_stay_below_their_budget() {
        let whole = 500 + 50;
        for first in (0..700).step_by(7) {
            for second in [0, 150, 330, 1000] {
                let plan = DevicePlan::auto(&sizes(), &[budget(0, first), budget(1, second)]);
                let weights: u64 = plan.places().iter().map(|p| p.weights).sum();
                assert_eq!(weights, whole);
                assert_eq!(plan.places().iter().map(|p| p.cache).sum::<u64>(), 40);
                let mut next = 0;
                for place in plan.places() {
                    assert_eq!(place.layers.start, next);
                    next = place.layers.end;
                    assert!(place.budget.is_none_or(|b| place.bytes() <= b), "{plan}");
                }
                assert_eq!((next, plan.layers()), (4, 4));
                assert!(plan.check(4).is_ok() || !Device::Cuda(0).is_built());
                assert!(plan.check(5).is_err());
            }
        }
    }

    #[test]
    fn a_plan_prints_as_a_table() {
        let plan = DevicePlan::auto(&sizes(), &[budget(0, 360)]);
        let text = plan.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].starts_with("cuda:0       0-1 "), "{text}");
        assert!(lines[2].starts_with("cpu          2-3 + head"), "{text}");
    }
}
