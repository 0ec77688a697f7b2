//! Placeholder opening; replaced by the first commit of this crate.
