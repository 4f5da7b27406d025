//! Language-model APIs behind the traits of `ropewalk-core`.

mod chat;
mod decorate;
mod dialect;
mod endpoint;
mod key;
mod openai;
pub mod presets;
pub mod wire;

pub use chat::RemoteChat;
pub use decorate::{
    Cache, CacheStore, DirStore, Fallback, MemoryStore, Meter, Metered, RateLimit, Record, Replay,
    Totals, Traced,
};
pub use dialect::{Dialect, EffortStyle, JsonSupport, SystemRole};
pub use endpoint::{Auth, Endpoint};
pub use key::{ApiKey, KeyDiagnosis};
pub use openai::OpenAi;
pub use wire::{Call, Decoder, Notes, Wire};
