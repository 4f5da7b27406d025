//! Messages, requests, responses, streams, errors and model traits shared by the ropewalk crates
