//! A history of text files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use ropewalk_core::{ChatHistory, Error, ErrorKind, Message, Result};
use serde::{Deserialize, Serialize};

use super::blocking;

/// Keeps each conversation in a file of JSON lines in one directory.
///
/// A line is what was appended at once, `{"v": 1, "messages": […]}`, so that after a crash an
/// append is there as a whole or not at all. Appends end with `fsync`; a clear removes the file. A
/// last line that was cut off is left out with a warning in the log, and taken away by the next
/// append or by [`repair`](Self::repair). Writers take turns by a lock on the file `.lock`, also
/// those of other processes.
#[derive(Debug, Clone)]
pub struct JsonlHistory {
    directory: PathBuf,
}

/// A last line that was cut off when a program or machine stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornLine {
    /// Where in the file the line begins.
    pub at: u64,
    /// How many bytes of it are there.
    pub bytes: u64,
}

/// Version of the lines.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Line<'m> {
    v: u32,
    messages: &'m [Message],
}

#[derive(Deserialize)]
struct StoredLine {
    v: u32,
    messages: Vec<Message>,
}

/// The content of a file.
#[derive(Default)]
struct Content {
    messages: Vec<Message>,
    torn: Option<TornLine>,
    /// Whether the last line is whole but for its line feed.
    unended: bool,
}

impl JsonlHistory {
    /// Opens a directory, creating it when it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the directory cannot be made.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = directory.into();
        match fs::create_dir_all(&directory) {
            Ok(()) => Ok(Self { directory }),
            Err(e) => {
                let message = format!("cannot create {}", directory.display());
                Err(Error::new(ErrorKind::Configuration, message).with_source(e))
            }
        }
    }

    /// Returns the file of a conversation, which need not be there. Letters, digits, `-` and `_`
    /// of the id stay; every other byte, and every capital, is `%` and two digits, so that no id
    /// leads out of the directory and no two ids share a file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] for an id that is empty or makes a name of more than 240
    /// bytes.
    pub fn path(&self, conversation: &str) -> Result<PathBuf> {
        let mut name = String::new();
        for byte in conversation.bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
                other => name.push_str(&format!("%{other:02x}")),
            }
        }
        if name.is_empty() || name.len() > 240 {
            let length = conversation.len();
            let message =
                format!("a conversation id of {length} bytes cannot name a file; use 1 to 80");
            return Err(Error::invalid_request(message));
        }
        Ok(self.directory.join(name + ".jsonl"))
    }

    /// Takes away the last line of a conversation if it was cut off, and tells what was there.
    ///
    /// # Errors
    /// As [`load`](ChatHistory::load).
    pub async fn repair(&self, conversation: &str) -> Result<Option<TornLine>> {
        let (this, path) = (self.clone(), self.path(conversation)?);
        blocking(move || {
            let _lock = this.lock()?;
            let content = read(&path)?;
            if let Some(torn) = content.torn {
                let file = OpenOptions::new().write(true).open(&path);
                let file = file.map_err(|e| failed("open", &path, e))?;
                cut(&file, torn.at).map_err(|e| failed("repair", &path, e))?;
            }
            Ok(content.torn)
        })
        .await
    }

    /// Waits for the lock of the directory; it is given back when the file is closed.
    fn lock(&self) -> Result<File> {
        let (file, path) = self.lock_file()?;
        file.lock().map_err(|e| failed("lock", &path, e))?;
        Ok(file)
    }

    /// Waits until nobody writes, so that no line is read half.
    fn lock_shared(&self) -> Result<File> {
        let (file, path) = self.lock_file()?;
        file.lock_shared().map_err(|e| failed("lock", &path, e))?;
        Ok(file)
    }

    fn lock_file(&self) -> Result<(File, PathBuf)> {
        let path = self.directory.join(".lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        match options.open(&path) {
            Ok(file) => Ok((file, path)),
            Err(e) => Err(failed("open", &path, e)),
        }
    }

    fn write(&self, path: &Path, messages: &[Message]) -> Result<()> {
        let line = Line {
            v: VERSION,
            messages,
        };
        let mut bytes = serde_json::to_vec(&line)
            .map_err(|e| Error::from_error(ErrorKind::InvalidRequest, e))?;
        bytes.push(b'\n');
        let _lock = self.lock()?;
        let is_new = !path.exists();
        let content = if ends_whole(path)? {
            Content::default()
        } else {
            read(path)?
        };
        if content.unended {
            bytes.insert(0, b'\n');
        }
        let wrote = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)?;
            if let Some(torn) = content.torn {
                cut(&file, torn.at)?;
            }
            let end = file.seek(SeekFrom::End(0))?;
            let written = file.write_all(&bytes).and_then(|()| file.sync_all());
            if written.is_err() {
                // A full disk must not leave half a line that looks like a crash.
                cut(&file, end)?;
            }
            written?;
            if is_new {
                sync_directory(&self.directory)?;
            }
            Ok(())
        };
        wrote().map_err(|e| failed("append to", path, e))
    }
}

#[async_trait]
impl ChatHistory for JsonlHistory {
    async fn load(&self, conversation: &str) -> Result<Vec<Message>> {
        let (this, path) = (self.clone(), self.path(conversation)?);
        blocking(move || {
            let _lock = this.lock_shared()?;
            Ok(read(&path)?.messages)
        })
        .await
    }

    async fn append(&self, conversation: &str, messages: &[Message]) -> Result<()> {
        let path = self.path(conversation)?;
        if messages.is_empty() {
            return Ok(());
        }
        let (this, messages) = (self.clone(), messages.to_vec());
        blocking(move || this.write(&path, &messages)).await
    }

    async fn clear(&self, conversation: &str) -> Result<()> {
        let (this, path) = (self.clone(), self.path(conversation)?);
        blocking(move || {
            let _lock = this.lock()?;
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path, e)),
                _ => sync_directory(&this.directory).map_err(|e| failed("clear", &path, e)),
            }
        })
        .await
    }
}

fn read(path: &Path) -> Result<Content> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Content::default()),
        Err(e) => return Err(failed("read", path, e)),
        Ok(_) => {}
    }
    let mut content = Content::default();
    let mut at = 0;
    for (number, line) in (1usize..).zip(bytes.split_inclusive(|b| *b == b'\n')) {
        let ended = line.ends_with(b"\n");
        match serde_json::from_slice::<StoredLine>(line) {
            Ok(stored) if stored.v == VERSION => {
                content.messages.extend(stored.messages);
                content.unended = !ended;
            }
            Ok(stored) => {
                let problem = format!("is of version {}, this program knows {VERSION}", stored.v);
                return Err(unreadable(path, number, &problem));
            }
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(_) if !ended => {
                let torn = TornLine {
                    at: at as u64,
                    bytes: line.len() as u64,
                };
                tracing::warn!(
                    file = %path.display(), line = number, bytes = torn.bytes,
                    "the last line was cut off and is left out"
                );
                content.torn = Some(torn);
            }
            Err(e) => return Err(unreadable(path, number, &e.to_string())),
        }
        at += line.len();
    }
    Ok(content)
}

/// Returns whether a file ends with a line feed, is empty or is not there.
fn ends_whole(path: &Path) -> Result<bool> {
    let last = || -> io::Result<Option<u8>> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(None);
        }
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        Ok(Some(last[0]))
    };
    match last() {
        Ok(last) => Ok(last.is_none_or(|byte| byte == b'\n')),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(failed("read", path, e)),
    }
}

fn cut(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.sync_all()
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    // Only Unix can open a directory, and only there a new name needs it.
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let message = format!("cannot {what} {}", path.display());
    Error::new(ErrorKind::Other, message).with_source(error)
}

fn unreadable(path: &Path, line: usize, problem: &str) -> Error {
    let message = format!("{}, line {line}: {problem}", path.display());
    Error::new(ErrorKind::Decode, message)
}
