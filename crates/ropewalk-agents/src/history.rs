//! Stores of conversations.

mod jsonl;
mod volatile;

pub use jsonl::{JsonlHistory, TornLine};
pub use volatile::InMemoryHistory;

#[cfg(feature = "redb")]
mod database;
#[cfg(feature = "redb")]
pub use database::RedbHistory;

/// Does blocking work where it disturbs no other task: on tokio's threads for it within its
/// runtime, else here.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> ropewalk_core::Result<T> + Send + 'static,
) -> ropewalk_core::Result<T> {
    match tokio::runtime::Handle::try_current() {
        Err(_) => work(),
        Ok(runtime) => runtime.spawn_blocking(work).await.map_err(|e| {
            ropewalk_core::Error::from_error(ropewalk_core::ErrorKind::Cancelled, e)
        })?,
    }
}
