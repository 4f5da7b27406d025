//! Tools that are ready to use.
//!
//! | tool | feature | what it does |
//! | --- | --- | --- |
//! | [`Calculator`] | | arithmetic, exact where it can be |
//! | [`Clock`] | | the time, weekdays, differences |
#![cfg_attr(
    feature = "web",
    doc = "| [`HttpFetch`] | `web` | a page as readable text |"
)]
#![cfg_attr(
    feature = "web",
    doc = "| [`Wikipedia`] | `web` | articles: search and summary |"
)]
#![cfg_attr(
    feature = "web",
    doc = "| [`DuckDuckGo`] | `web` | instant answers and search results |"
)]
#![cfg_attr(
    feature = "web",
    doc = "| [`Weather`] | `web` | weather now and in the next days |"
)]
#![cfg_attr(
    feature = "sqlite",
    doc = "| [`SqliteLookup`] | `sqlite` | reading queries on a database file |"
)]
//!
//! All of them are [`Effect::Read`](ropewalk_core::Effect::Read). What comes from outside is
//! untrusted; what is computed here is trusted.

pub mod calculator;
pub mod clock;

pub use calculator::Calculator;
pub use clock::Clock;
