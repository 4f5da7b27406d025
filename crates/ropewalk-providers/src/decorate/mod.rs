//! Models around models: each takes chat models and is one.

mod cache;
mod fallback;
mod metered;
mod peek;
mod rate_limit;
mod record;
mod traced;

pub use cache::{Cache, CacheStore, DirStore, MemoryStore};
pub use fallback::Fallback;
pub use metered::{Meter, Metered, Totals};
pub use rate_limit::RateLimit;
pub use record::{Record, Replay};
pub use traced::Traced;
pub(crate) use traced::{chat_span, followed, settled};
