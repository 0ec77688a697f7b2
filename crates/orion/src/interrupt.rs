//! Ctrl-C for commands that put something in order before they end: a checkpoint, a file that is half written.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;
use crate::output;

/// Whether the user has asked to stop.
pub(crate) static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on the first Ctrl-C asks to stop, and a second one ends the program at once.
pub(crate) fn watch() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            leave_at_once();
        }
        output::note("stopping; once more to stop at once, without saving");
    })
    .map_err(|error| Failure::Failed(format!("cannot watch for Ctrl-C: {error}")))
}

/// The failure of work that was stopped, if the user has asked for that.
pub(crate) fn stopped_before(what: &str) -> Result<(), Failure> {
    let is_asked = ASKED.load(Ordering::SeqCst);
    if is_asked { Err(Failure::Failed(format!("stopped before {what}"))) } else { Ok(()) }
}

/// A second Ctrl-C: whoever asks twice does not want to wait.
#[expect(
    clippy::exit,
    reason = "work is under way that cannot be left otherwise, and the user asked twice"
)]
fn leave_at_once() {
    std::process::exit(130);
}
