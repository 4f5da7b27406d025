//! What came of the rows, put in order.

use std::collections::HashMap;
use std::path::Path;

use ropewalk_core::{Error, ErrorKind, Result};
use serde_json::Value;

use super::{BatchRun, invalid};
use crate::batch::row::BatchReply;
use crate::batch::service::BatchPhase;
use crate::batch::state::BatchPart;
use crate::resources::atomic;

impl BatchRun {
    /// Returns what came of every row, in the order of the rows.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] before all replies are here, [`ErrorKind::Configuration`] when
    /// the directory cannot be read.
    pub async fn replies(&self) -> Result<Vec<BatchReply>> {
        let summary = self.summary();
        if !summary.is_over() {
            let message = format!(
                "the replies of {} of {} batches are here: poll on",
                summary.fetched, summary.batches
            );
            return Err(invalid(&*self.service, message));
        }
        let mut replies = Vec::with_capacity(self.state.rows);
        for i in 0..self.state.parts.len() {
            self.replies_of(i, &mut replies).await?;
        }
        Ok(replies)
    }

    /// Reads the replies of a part in the order of its rows.
    async fn replies_of(&self, i: usize, replies: &mut Vec<BatchReply>) -> Result<()> {
        let part = &self.state.parts[i];
        let path = self.output(i);
        let text = read_lines(&path).await?;
        let mut found = HashMap::new();
        for (number, line) in (1..).zip(text.split(|b| *b == b'\n')) {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let value: Option<Value> = serde_json::from_slice(line).ok();
            let Some(reply) = value.and_then(|v| self.service.reply(&v)) else {
                let message = format!("line {number} of {} is no reply", path.display());
                return Err(Error::new(ErrorKind::Decode, message)
                    .with_provider(self.state.provider.clone()));
            };
            found.entry(reply.custom_id.clone()).or_insert(reply);
        }
        let inputs = read_lines(&self.input(i)).await?;
        let inputs = inputs.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        for (row, line) in inputs.enumerate() {
            let value: Value = serde_json::from_slice(line).unwrap_or_default();
            let custom_id = value["custom_id"].as_str().unwrap_or_default().to_owned();
            let mut reply = BatchReply::new(part.first + row, custom_id, Ok(Value::Null));
            match found.remove(&reply.custom_id) {
                Some(answer) => {
                    (reply.request_id, reply.result) = (answer.request_id, answer.result);
                }
                None => reply.result = Err(self.missing(part, row)),
            }
            replies.push(reply);
        }
        Ok(())
    }

    /// Returns why a row has no reply.
    fn missing(&self, part: &BatchPart, row: usize) -> Error {
        let batch = part.batch.as_deref().unwrap_or("of this row");
        let reasons = &part.status.reasons;
        // The provider counts lines from 1.
        let own = format!("line {}: ", row + 1);
        let reason = reasons
            .iter()
            .find(|r| r.starts_with(&own))
            .or(reasons.first());
        let reason = reason.map(|r| format!(": {r}")).unwrap_or_default();
        let (kind, what) = match &part.status.phase {
            BatchPhase::Expired => (ErrorKind::Timeout, "expired before this row was tried"),
            BatchPhase::Cancelled => (
                ErrorKind::Cancelled,
                "was cancelled before this row was tried",
            ),
            BatchPhase::Failed => (ErrorKind::InvalidRequest, "was refused"),
            _ => (ErrorKind::Decode, "gave no reply to this row"),
        };
        Error::new(kind, format!("the batch {batch} {what}{reason}"))
            .with_provider(self.state.provider.clone())
    }
}

async fn read_lines(path: &Path) -> Result<Vec<u8>> {
    let missing = || {
        let message = format!("{} is gone", path.display());
        Error::new(ErrorKind::Configuration, message)
    };
    atomic::read(path).await?.ok_or_else(missing)
}
