//! A history in an embedded database.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use ropewalk_core::{ChatHistory, Error, ErrorKind, Message, Result};

use super::blocking;

/// Conversation and number of the append, from 0, to the JSON of the messages appended.
const APPENDS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("ropewalk_chat_v1");

/// Keeps conversations in a [redb](https://docs.rs/redb) file. An append or clear is one
/// transaction; the file belongs to one process at a time.
#[derive(Clone)]
pub struct RedbHistory {
    database: Arc<Database>,
}

impl RedbHistory {
    /// Opens a file, creating it when it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the file is no database, is in use or cannot be made.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match Database::create(path) {
            Ok(database) => Ok(Self {
                database: Arc::new(database),
            }),
            Err(e) => {
                let message = format!("cannot open {}", path.display());
                Err(Error::new(ErrorKind::Configuration, message).with_source(e))
            }
        }
    }
}

impl fmt::Debug for RedbHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbHistory").finish_non_exhaustive()
    }
}

fn failed(error: impl Into<redb::Error>) -> Error {
    Error::from_error(ErrorKind::Other, error.into())
}

#[async_trait]
impl ChatHistory for RedbHistory {
    async fn load(&self, conversation: &str) -> Result<Vec<Message>> {
        let (database, id) = (Arc::clone(&self.database), conversation.to_owned());
        blocking(move || {
            let reading = database.begin_read().map_err(failed)?;
            let table = match reading.open_table(APPENDS) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table.map_err(failed)?,
            };
            let mut messages = Vec::new();
            let mine = (id.as_str(), 0)..=(id.as_str(), u64::MAX);
            for entry in table.range(mine).map_err(failed)? {
                let (key, value) = entry.map_err(failed)?;
                let appended: Vec<Message> =
                    serde_json::from_slice(value.value()).map_err(|e| {
                        let number = key.value().1;
                        let message = format!("conversation {id:?}, append {number}: {e}");
                        Error::new(ErrorKind::Decode, message)
                    })?;
                messages.extend(appended);
            }
            Ok(messages)
        })
        .await
    }

    async fn append(&self, conversation: &str, messages: &[Message]) -> Result<()> {
        let (database, id) = (Arc::clone(&self.database), conversation.to_owned());
        if messages.is_empty() {
            return Ok(());
        }
        let bytes = serde_json::to_vec(messages)
            .map_err(|e| Error::from_error(ErrorKind::InvalidRequest, e))?;
        blocking(move || {
            let writing = database.begin_write().map_err(failed)?;
            {
                let mut table = writing.open_table(APPENDS).map_err(failed)?;
                let mine = (id.as_str(), 0)..=(id.as_str(), u64::MAX);
                let last = table.range(mine).map_err(failed)?.next_back();
                let last = last.transpose().map_err(failed)?;
                let next = last.map_or(0, |(key, _)| key.value().1 + 1);
                table
                    .insert((id.as_str(), next), bytes.as_slice())
                    .map_err(failed)?;
            }
            writing.commit().map_err(failed)
        })
        .await
    }

    async fn clear(&self, conversation: &str) -> Result<()> {
        let (database, id) = (Arc::clone(&self.database), conversation.to_owned());
        blocking(move || {
            let writing = database.begin_write().map_err(failed)?;
            {
                let mut table = writing.open_table(APPENDS).map_err(failed)?;
                let mine = (id.as_str(), 0)..=(id.as_str(), u64::MAX);
                table.retain_in(mine, |_, _| false).map_err(failed)?;
            }
            writing.commit().map_err(failed)
        })
        .await
    }
}
