use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys;

/// Counts the temporary files of this program; its process id keeps programs apart.
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A file that appears under its name only when it is complete.
///
/// Data goes to a hidden file in the same directory. Dropping the value before it is committed
/// removes that file.
#[derive(Debug)]
pub struct AtomicFile {
    out: BufWriter<File>,
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl AtomicFile {
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        let Some(name) = target.file_name() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path names no file",
            ));
        };
        if target.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                "it is a directory",
            ));
        }
        let (temporary, file) = loop {
            let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{}-{serial}.tmp", std::process::id()));
            let temporary = target.with_file_name(hidden);
            match OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&temporary)
            {
                Ok(file) => break (temporary, file),
                // Left by a program that was killed; process ids repeat, in containers at once.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        };
        let out = BufWriter::with_capacity(1 << 18, file);
        Ok(Self {
            out,
            temporary,
            target: target.to_owned(),
            committed: false,
        })
    }

    /// Writes everything to disk and gives the file its name.
    pub(crate) fn commit(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        fs::rename(&self.temporary, &self.target)?;
        self.committed = true;
        match self.target.parent() {
            Some(parent) if parent != Path::new("") => sys::sync_directory(parent),
            _ => sys::sync_directory(Path::new(".")),
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing can be done about a failure here.
            drop(fs::remove_file(&self.temporary));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_program_left_is_passed_over() {
        let dir = std::env::temp_dir().join(format!("ropewalk-atomic-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let next = COUNTER.load(Ordering::Relaxed);
        for serial in next..next + 4 {
            fs::write(
                dir.join(format!(".x.{}-{serial}.tmp", std::process::id())),
                "",
            )
            .unwrap();
        }
        let mut file = AtomicFile::create(&dir.join("x")).unwrap();
        file.write_all(b"whole").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read(dir.join("x")).unwrap(), b"whole");
        fs::remove_dir_all(&dir).unwrap();
    }
}
