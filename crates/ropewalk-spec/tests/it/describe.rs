//! The printed module tree.

use crate::fixtures::all;

#[test]
fn trees_equal_those_of_transformers() {
    for fixture in all() {
        let text = ropewalk_spec::describe(&fixture.spec());
        assert_eq!(
            text,
            fixture.answers["tree"].as_str().unwrap(),
            "{}",
            fixture.name
        );
    }
}
