//! Weight files: what other people's writers made is read as they meant it, what Orion writes reads back, and damage
//! is one clear error.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod damaged;
mod detection;
mod fixture;
mod quantizing;
mod reading;
mod writing;
