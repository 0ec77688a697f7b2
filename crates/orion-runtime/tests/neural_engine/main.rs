//! The Neural Engine's contract and the simulator behind it, against what was published of the engine.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod altered;
mod cache;
mod contract;
mod corpus;
mod faults;
mod fixture;
mod layer;
mod layout;
mod limits;
mod meaning;
mod numerics;
mod products;
mod refusals;
mod self_test;
mod sweep;
mod weights;
