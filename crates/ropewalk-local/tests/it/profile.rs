//! Where the time of passes goes.

use std::num::NonZeroUsize;

use ropewalk_gguf::TensorType;
use ropewalk_local::LoadOptions;

use crate::families::from_gguf;
use crate::golden::cases;

#[test]
fn passes_are_measured_where_it_is_asked_for() {
    let case = cases()
        .into_iter()
        .find(super::golden::GoldenCase::is_wide)
        .unwrap();
    let bytes = case.model.gguf(|_| TensorType::Q8_0).unwrap();
    let two = LoadOptions::default().with_threads(NonZeroUsize::new(2).unwrap());
    let model = from_gguf(bytes.clone(), &two);
    model.forward(&mut model.new_cache(), &[1, 2, 3]).unwrap();
    assert_eq!(model.take_profile(), None);

    let model = from_gguf(bytes, &two.with_profile(true));
    assert_eq!(model.take_profile().unwrap().passes, 0);
    let mut cache = model.new_cache();
    model.forward(&mut cache, &[7; 600]).unwrap();
    model.forward(&mut cache, &[1]).unwrap();
    let profile = model.take_profile().unwrap();
    assert_eq!((profile.passes, profile.rows), (3, 601));
    let stages = profile.stages();
    assert!(
        stages
            .iter()
            .all(|(stage, time)| time.is_zero() == (*stage == "device"))
    );
    assert!(profile.total() > profile.feed_forward);
    // Four products and attention in each layer.
    let least = 2 * 5 * case.model.spec.layers as u64;
    assert!(profile.phases >= least, "{} phases", profile.phases);
    assert_eq!(model.take_profile().unwrap(), Default::default());
}
