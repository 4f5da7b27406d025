//! Arbitrary bytes as an importance matrix: an error of one line, or entries that are written and
//! read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_gguf::ImportanceMatrix;

fuzz_target!(|data: &[u8]| {
    let matrix = match ImportanceMatrix::from_bytes(data) {
        Ok(matrix) => matrix,
        Err(error) => {
            assert!(!error.to_string().contains('\n'));
            return;
        }
    };
    for entry in matrix.entries.values() {
        assert_eq!(entry.weights().len(), entry.sums.len());
    }
    // The new format limits the length of names.
    let Ok(bytes) = matrix.to_bytes() else { return };
    assert_eq!(ImportanceMatrix::from_bytes(bytes).expect("our own file"), matrix);
});
