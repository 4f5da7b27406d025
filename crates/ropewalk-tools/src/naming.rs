//! Names of tools that others made.

use std::collections::HashSet;

/// Makes a name that every provider accepts and that is not taken yet: what is no letter, digit,
/// `_` or `-` becomes `_`, it is cut to 64 characters, and a second of the same name gets a number.
pub(crate) fn valid_name(wanted: &str, taken: &mut HashSet<String>) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let valid = wanted.chars().map(|c| if fits(c) { c } else { '_' });
    let mut name: String = valid.take(64).collect();
    if name.is_empty() {
        name.push_str("tool");
    }
    let mut numbered = name.clone();
    let mut number = 1;
    while !taken.insert(numbered.clone()) {
        number += 1;
        let suffix = format!("_{number}");
        numbered = name[..name.len().min(64 - suffix.len())].to_owned() + &suffix;
    }
    numbered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_valid_and_distinct() {
        let mut taken = HashSet::new();
        let mut name = |wanted: &str| valid_name(wanted, &mut taken);
        assert_eq!(name("echo"), "echo");
        assert_eq!(name("files/read.all"), "files_read_all");
        assert_eq!(name("files.read/all"), "files_read_all_2");
        assert_eq!(name("größe"), "gr__e");
        assert_eq!(name(""), "tool");
        let long = "x".repeat(200);
        assert_eq!(name(&long), "x".repeat(64));
        assert_eq!(name(&long), "x".repeat(62) + "_2");
    }
}
