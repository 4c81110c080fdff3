//! Durations, as the API server's `format: duration` has them.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

/// A duration such as `1h30m`, `90s` or `1d`. Days have 24 hours and weeks seven days, as in the API server, which lets them through
/// (<https://pkg.go.dev/github.com/go-openapi/strfmt#ParseDuration>).
#[must_use]
pub fn signed(text: &str) -> Option<SignedDuration> {
    let text = text.trim();
    if text == "0" {
        return Some(SignedDuration::ZERO);
    }
    let span: Span = text.parse().ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
}

/// The same; `None` also for one below zero.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    signed(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_takes_is_read() {
        for (text, seconds) in [
            ("0", 0),
            ("0s", 0),
            ("90s", 90),
            ("1h30m", 5_400),
            ("1.5h", 5_400),
            ("1d", 86_400),
            ("7 days", 604_800),
            ("1w", 604_800),
            ("1d12h", 129_600),
            (" 45m ", 2_700),
        ] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "soon", "-1s", "1", "1mo", "1y"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(signed("-1s"), Some(SignedDuration::from_secs(-1)));
    }
}
