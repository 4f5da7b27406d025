//! One binary for all integration tests of this crate.

mod faults;
mod framing;
mod sockets;
