//! What can be said of a program without changing it.

pub mod working_set;
