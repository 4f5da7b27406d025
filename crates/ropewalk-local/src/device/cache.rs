//! Keys and values on devices.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::tensor::Done;

/// Keys and values of one layer, `[kv_heads, capacity, head_dim]` each.
#[derive(Debug)]
pub(super) struct Kv {
    pub(super) k: Tensor,
    pub(super) v: Tensor,
}

/// Where a layer keeps its keys and values.
#[derive(Debug, Clone)]
pub(super) struct KvShape {
    pub(super) shape: (usize, usize, usize),
    pub(super) dtype: DType,
    pub(super) device: candle_core::Device,
}

/// What one sequence keeps on devices; copies share it until one of them writes.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceCache(Arc<Vec<Kv>>);

impl DeviceCache {
    /// Returns how many layers have keys and values here.
    pub(super) fn layers(&self) -> usize {
        self.0.len()
    }

    /// Whether this is what `len` tokens of a model with such layers left, or empty.
    pub(super) fn fits(&self, len: usize, layers: impl Iterator<Item = KvShape>) -> bool {
        if self.0.is_empty() {
            return len == 0;
        }
        let wanted: Vec<KvShape> = layers.collect();
        let same = |(kv, l): (&Kv, &KvShape)| {
            let (place, wanted) = (kv.k.device().location(), l.device.location());
            kv.k.dims3().is_ok_and(|found| found == l.shape)
                && kv.k.dtype() == l.dtype
                && place == wanted
        };
        self.0.len() == wanted.len() && self.0.iter().zip(&wanted).all(same)
    }

    /// Returns the tensors for writing from position `len` on: fresh ones at the beginning of a
    /// sequence, and fresh ones with `len` positions copied where others read them too.
    pub(super) fn writing(
        &mut self,
        len: usize,
        layers: impl Iterator<Item = KvShape>,
    ) -> Done<&[Kv]> {
        if self.0.is_empty() || Arc::get_mut(&mut self.0).is_none() {
            let old = &self.0;
            let fresh = layers.enumerate().map(|(i, l)| {
                let make = |from: fn(&Kv) -> &Tensor| -> Done<Tensor> {
                    let new = Tensor::zeros(l.shape, l.dtype, &l.device)?;
                    if let (Some(old), 1..) = (old.get(i), len) {
                        new.slice_set(&from(old).narrow(1, 0, len)?.contiguous()?, 1, 0)?;
                    }
                    Ok(new)
                };
                Ok(Kv {
                    k: make(|kv| &kv.k)?,
                    v: make(|kv| &kv.v)?,
                })
            });
            self.0 = Arc::new(fresh.collect::<Done<_>>()?);
        }
        Ok(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes() -> impl Iterator<Item = KvShape> {
        let shape = KvShape {
            shape: (2, 8, 4),
            dtype: DType::F32,
            device: candle_core::Device::Cpu,
        };
        [shape.clone(), shape].into_iter()
    }

    fn first(kv: &[Kv]) -> f32 {
        kv[1].v.get(0).unwrap().get(0).unwrap().to_vec1().unwrap()[0]
    }

    #[test]
    fn a_sequence_keeps_its_tensors_and_copies_are_made_on_writing() {
        let ones = Tensor::ones((2, 3, 4), DType::F32, &candle_core::Device::Cpu).unwrap();
        let mut cache = DeviceCache::default();
        assert!(cache.fits(0, shapes()) && !cache.fits(1, shapes()));
        let kv = cache.writing(0, shapes()).unwrap();
        kv[1].v.slice_set(&ones, 1, 0).unwrap();
        let id = kv[1].v.id();
        assert!(cache.fits(3, shapes()) && !cache.fits(3, shapes().take(1)));
        // Steps write where the sequence is.
        assert_eq!(cache.writing(3, shapes()).unwrap()[1].v.id(), id);
        let mut copy = cache.clone();
        let kv = copy.writing(2, shapes()).unwrap();
        assert_ne!(kv[1].v.id(), id);
        assert_eq!(first(kv), 1.0);
        kv[1].v.slice_set(&(&ones * 2.0).unwrap(), 1, 0).unwrap();
        let kv = cache.writing(3, shapes()).unwrap();
        assert_eq!((kv[1].v.id(), first(kv)), (id, 1.0));
    }
}
