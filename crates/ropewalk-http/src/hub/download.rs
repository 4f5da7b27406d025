//! Contents to disk: continued where they broke off, checked, then moved into place.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use ropewalk_core::{Error, ErrorKind, ProgressEvent, Result};
use sha2::{Digest, Sha256};

use super::cache::{create_parent, io_error};
use super::fetch::Metadata;
use super::name::HubName;
use super::{Hub, PROVIDER};

/// How often a download that broke off is continued without having got on.
const CONTINUATIONS: u32 = 5;
/// Bytes that count as having got on.
const STEP: u64 = 64 << 10;
/// Time between two reports.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// A download that is under way.
struct Partial {
    path: PathBuf,
    file: File,
    done: u64,
    /// Of what is done, where the name of the contents is their SHA-256.
    hash: Option<Sha256>,
}

impl Partial {
    /// Opens what came earlier, or begins.
    fn open(blob: &Path, etag: &str) -> std::io::Result<Self> {
        let mut name = blob.file_name().unwrap_or_default().to_owned();
        name.push(".incomplete");
        let path = blob.with_file_name(name);
        create_parent(&path)?;
        let mut partial = Self {
            file: File::options()
                .create(true)
                .append(true)
                .read(true)
                .open(&path)?,
            path,
            done: 0,
            hash: is_sha256(etag).then(Sha256::new),
        };
        let mut buffer = vec![0; 1 << 20];
        let mut reader = File::open(&partial.path)?;
        loop {
            let n = reader.read(&mut buffer)?;
            if n == 0 {
                return Ok(partial);
            }
            partial.count(&buffer[..n]);
        }
    }

    fn count(&mut self, bytes: &[u8]) {
        self.done += bytes.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
    }

    fn push(&mut self, bytes: &Bytes) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.count(bytes);
        Ok(())
    }

    fn restart(&mut self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.done = 0;
        self.hash = self.hash.as_ref().map(|_| Sha256::new());
        Ok(())
    }

    fn digest(&self) -> Option<String> {
        let digest = self.hash.clone()?.finalize();
        Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit())
}

impl Hub {
    /// Fetches contents to `blob`; what came before an error stays and is continued next time.
    pub(super) async fn download(
        &self,
        name: &HubName,
        file: &str,
        found: &Metadata,
        blob: &Path,
    ) -> Result<()> {
        let mut partial = Partial::open(blob, &found.etag).map_err(|e| io_error(blob, &e))?;
        let path = partial.path.clone();
        let failed = |e: std::io::Error| io_error(&path, &e);
        if found.size.is_some_and(|size| partial.done > size) {
            partial.restart().map_err(failed)?;
        }
        let mut left = CONTINUATIONS;
        while found.size.is_none_or(|size| partial.done < size) || partial.done == 0 {
            let before = partial.done;
            let result = self.pieces(name, file, found, &mut partial).await;
            match result {
                Ok(()) if found.size.is_none_or(|size| partial.done >= size) => break,
                Err(error) if !error.kind().is_transient() => return Err(error),
                _ if left == 0 => {
                    let size = found.size.map_or("?".to_owned(), |s| s.to_string());
                    let message = format!(
                        "{name}: {file} broke off after {} of {size} bytes; ask again, it goes on from there",
                        partial.done
                    );
                    return Err(match result {
                        Err(error) => Error::new(error.kind(), message).with_source(error),
                        Ok(()) => Error::new(ErrorKind::Connection, message),
                    }
                    .with_provider(PROVIDER));
                }
                _ if partial.done >= before + STEP => left = CONTINUATIONS,
                _ => left -= 1,
            }
        }
        let wrong_size = found.size.is_some_and(|size| size != partial.done);
        let wrong_hash = partial
            .digest()
            .is_some_and(|d| !d.eq_ignore_ascii_case(&found.etag));
        if wrong_size || wrong_hash {
            // Nothing of it can be trusted.
            fs::remove_file(&partial.path).map_err(failed)?;
            let what = if wrong_size { "size" } else { "SHA-256" };
            let message =
                format!("{name}: {file} came with another {what} than announced; ask again");
            return Err(Error::new(ErrorKind::Decode, message).with_provider(PROVIDER));
        }
        partial.file.sync_all().map_err(failed)?;
        fs::rename(&partial.path, blob).map_err(failed)
    }

    /// Asks once for what is missing and appends what comes.
    async fn pieces(
        &self,
        name: &HubName,
        file: &str,
        found: &Metadata,
        partial: &mut Partial,
    ) -> Result<()> {
        let path = partial.path.clone();
        let failed = |e: std::io::Error| io_error(&path, &e);
        let (mut body, continued) = self
            .contents(name, file, &found.location, partial.done)
            .await?;
        if partial.done > 0 && !continued {
            partial.restart().map_err(failed)?;
        }
        let idle = self.client.options().idle_timeout;
        let mut reported = Instant::now();
        self.report(file, partial.done, found.size);
        loop {
            let Ok(piece) = tokio::time::timeout(idle, body.next()).await else {
                let message = format!("{name}: {file} stood still for {} s", idle.as_secs_f64());
                return Err(Error::new(ErrorKind::Timeout, message).with_provider(PROVIDER));
            };
            let Some(piece) = piece.transpose()? else {
                self.report(file, partial.done, found.size);
                return Ok(());
            };
            partial.push(&piece).map_err(failed)?;
            if reported.elapsed() >= REPORT_EVERY {
                reported = Instant::now();
                self.report(file, partial.done, found.size);
            }
            if found.size.is_some_and(|size| partial.done > size) {
                return Ok(());
            }
        }
    }

    fn report(&self, file: &str, done: u64, size: Option<u64>) {
        if let Some(progress) = &self.progress {
            progress.report(&ProgressEvent::new(file, done, size, "bytes"));
        }
    }
}
