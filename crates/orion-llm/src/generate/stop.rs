//! Stop strings in streamed text: what could be the beginning of one is held back until it is decided.

/// Watches a stream of text for the first of several stop strings.
#[derive(Clone, Debug)]
pub(super) struct StopStrings {
    stops: Vec<String>,
    held: String,
}

impl StopStrings {
    pub(super) fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, held: String::new() }
    }

    /// Takes the next piece; gives text that is safe to show, and whether a stop string was met.
    pub(super) fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        let met = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = met {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let undecided = self
            .held
            .char_indices()
            .map(|(at, _)| at)
            .find(|&at| self.stops.iter().any(|stop| stop.starts_with(&self.held[at..])))
            .unwrap_or(self.held.len());
        let rest = self.held.split_off(undecided);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back, at the end of the stream.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        let mut watch = StopStrings::new(&stops);
        let mut shown = String::new();
        for piece in pieces {
            let (text, met) = watch.push(piece);
            shown.push_str(&text);
            if met {
                return (shown, true);
            }
        }
        shown.push_str(&watch.finish());
        (shown, false)
    }

    #[test]
    fn a_stop_string_split_over_pieces_is_found_and_not_shown() {
        assert_eq!(stream(&["\nUser:"], &["Yes.", "\nUs", "er: hi"]), ("Yes.".to_owned(), true));
        assert_eq!(stream(&["aab"], &["a", "a", "a", "b!"]), ("a".to_owned(), true));
    }

    #[test]
    fn a_beginning_that_leads_nowhere_is_shown_after_all() {
        assert_eq!(
            stream(&["\nUser:"], &["One", "\nUs", "ually"]),
            ("One\nUsually".to_owned(), false)
        );
        assert_eq!(stream(&["END"], &["tail EN"]), ("tail EN".to_owned(), false));
    }

    #[test]
    fn the_earliest_of_several_wins_and_empty_ones_never_match() {
        assert_eq!(stream(&["c", "bc", ""], &["abcd"]), ("a".to_owned(), true));
        assert_eq!(stream(&[""], &["é"]), ("é".to_owned(), false));
    }
}
