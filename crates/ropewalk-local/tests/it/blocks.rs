//! Block types against the logits of transformers with weights that PyPI gguf coded and decoded.

use crate::families::{exact, from_gguf};
use crate::golden::packed_cases;

#[test]
fn block_types_are_those_of_the_python_package() {
    for case in packed_cases() {
        let ty = case.packed.unwrap();
        let decoded = from_gguf(case.model.gguf_dequantized(|_| ty).unwrap(), &exact());
        let packed = from_gguf(case.model.gguf(|_| ty).unwrap(), &exact());
        for run in case.runs.iter().filter(|r| r.prefill == r.tokens.len()) {
            let all = |model: &ropewalk_local::Model| {
                model
                    .forward_all(&mut model.new_cache(), &run.tokens)
                    .unwrap()
            };
            let (decoded, packed) = (all(&decoded), all(&packed));
            let vocab = case.model.spec.vocab_size;
            for row in &run.rows {
                let at = row.position * vocab..(row.position + 1) * vocab;
                run.check(row, &decoded[at.clone()], run.tolerance(), case.name);
                // Activations are rounded to 8 bits as well: about 1 % of a logit's deviation.
                run.check(row, &packed[at], 0.05 * run.max_abs, case.name);
            }
        }
    }
}
