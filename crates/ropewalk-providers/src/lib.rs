//! Language-model APIs behind the traits of `ropewalk-core`.

mod chat;
mod endpoint;
mod key;
pub mod wire;

pub use chat::RemoteChat;
pub use endpoint::{Auth, Endpoint};
pub use key::{ApiKey, KeyDiagnosis};
pub use wire::{Call, Decoder, Notes, Wire};
