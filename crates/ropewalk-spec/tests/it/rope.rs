//! Frequencies and tables against transformers.

use crate::fixtures::{all, floats};

/// Distance in units of the last place.
fn ulps(a: f32, b: f32) -> u32 {
    a.to_bits().abs_diff(b.to_bits())
}

#[test]
fn frequencies_equal_those_of_transformers() {
    let mut exact = 0;
    let mut total = 0;
    for fixture in all() {
        let rope = fixture.spec().rope;
        for answer in fixture.answers["rope"].as_array().unwrap() {
            let length = answer["length"].as_u64().unwrap() as usize;
            let found = rope.inv_freq(length);
            let expected = floats(&answer["inv_freq"]);
            assert_eq!(found.len(), expected.len(), "{}", fixture.name);
            for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
                // PyTorch's vectorised power is correct to one unit; divisions follow it.
                assert!(
                    ulps(*a, *b) <= 3,
                    "{} at {length}, {i}: {a} {b}",
                    fixture.name
                );
                exact += usize::from(a == b);
                total += 1;
            }
            let factor = answer["factor"].as_f64().unwrap() as f32;
            assert_eq!(rope.attention_factor(), factor, "{}", fixture.name);
        }
    }
    // Rounding in other places than transformers would make this a minority.
    assert!(
        exact * 10 > total * 8,
        "{exact} of {total} frequencies are equal to the bit"
    );
}

#[test]
fn tables_equal_those_of_transformers() {
    for fixture in all() {
        let rope = fixture.spec().rope;
        for answer in fixture.answers["rope"].as_array().unwrap() {
            let length = answer["length"].as_u64().unwrap() as usize;
            let positions = answer["positions"].as_array().unwrap();
            let positions: Vec<u32> = positions
                .iter()
                .map(|p| p.as_u64().unwrap() as u32)
                .collect();
            let (cos, sin) = rope.tables(&positions, length);
            let inv_freq = rope.inv_freq(length);
            for (name, found, expected) in [
                ("cos", cos, floats(&answer["cos"])),
                ("sin", sin, floats(&answer["sin"])),
            ] {
                assert_eq!(found.len(), expected.len());
                for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
                    let angle = positions[i / inv_freq.len()] as f32 * inv_freq[i % inv_freq.len()];
                    // Three units in the frequency turn the angle by as many.
                    let tolerance = 3e-7 + 4.0 * angle * f32::EPSILON;
                    assert!(
                        (a - b).abs() <= tolerance * rope.attention_factor(),
                        "{} {name} at {length}, {i}: {a} {b}",
                        fixture.name
                    );
                }
            }
        }
    }
}
