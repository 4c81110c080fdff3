//! Why something failed: of a chain of errors, the last one has the facts.

use std::error::Error;

/// The cause that has no cause: a certificate, a name, a reset.
#[must_use]
pub fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost
}
