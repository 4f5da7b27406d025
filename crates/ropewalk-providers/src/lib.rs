//! Language-model APIs behind the traits of `ropewalk-core`.

mod chat;
mod dialect;
mod endpoint;
mod key;
mod openai;
pub mod presets;
pub mod wire;

pub use chat::RemoteChat;
pub use dialect::{Dialect, EffortStyle, JsonSupport, SystemRole};
pub use endpoint::{Auth, Endpoint};
pub use key::{ApiKey, KeyDiagnosis};
pub use openai::OpenAi;
pub use wire::{Call, Decoder, Notes, Wire};
