//! Tools that are ready to use.
//!
//! | tool | feature | what it does |
//! | --- | --- | --- |
//! | [`Calculator`] | | arithmetic, exact where it can be |
//! | [`Clock`] | | the time, weekdays, weeks, differences |
//! | `HttpFetch` | `web` | a page as readable text with its links |
//! | `Wikipedia` | `web` | articles: search and summary |
//! | `DuckDuckGo` | `web` | instant answers and search results |
//! | `Weather` | `web` | the weather now and in the next days |
//! | `SqliteLookup` | `sqlite` | reading queries on a database file |
//!
//! All of them are [`Effect::Read`](ropewalk_core::Effect::Read). What comes from outside is
//! untrusted; what is computed here is trusted.

pub mod calculator;
pub mod clock;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "web")]
pub mod web;

pub use calculator::Calculator;
pub use clock::Clock;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteLookup;
#[cfg(feature = "web")]
pub use web::{DuckDuckGo, HttpFetch, Weather, Wikipedia};
