//! Language-model APIs behind the traits of `ropewalk-core`.
