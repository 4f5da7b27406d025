//! Names of split models: `NAME-00001-of-00003.gguf`, numbered from one (`gguf-split`).

use std::path::{Path, PathBuf};

/// Place of a file in a split model, as its name says.
pub(crate) struct SplitName<'a> {
    prefix: &'a str,
    pub(crate) count: usize,
    path: &'a Path,
}

impl<'a> SplitName<'a> {
    /// Reads the place from the name; `None` where the name has another form.
    pub(crate) fn of(path: &'a Path) -> Option<Self> {
        let stem = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
        let (number, count) = (five_digits(number)?, five_digits(count)?);
        (number >= 1 && number <= count).then_some(Self {
            prefix,
            count,
            path,
        })
    }

    /// Returns the path of part `index`, counted from zero.
    pub(crate) fn part(&self, index: usize) -> PathBuf {
        let name = format!("{}-{:05}-of-{:05}.gguf", self.prefix, index + 1, self.count);
        self.path.with_file_name(name)
    }
}

fn five_digits(text: &str) -> Option<usize> {
    (text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_only_names_of_parts() {
        let part = SplitName::of(Path::new("dir/my-of-model-00002-of-00010.gguf")).unwrap();
        assert_eq!(part.count, 10);
        assert_eq!(
            part.part(0),
            Path::new("dir/my-of-model-00001-of-00010.gguf")
        );
        for other in [
            "model.gguf",
            "model-00000-of-00002.gguf",
            "model-00003-of-00002.gguf",
            "model-1-of-2.gguf",
            "model-0000a-of-00002.gguf",
            "model-00001-of-00002.bin",
            "-of-.gguf",
        ] {
            assert!(SplitName::of(Path::new(other)).is_none(), "{other}");
        }
    }
}
