//! What bad input gets: its own reason, a message with field, value and cure, an Event, the next attempt's time; and a
//! Secret that still works stays as it is.

mod github;
mod namespace;
mod schema;
mod startup;

use github_token_manager::api::{Condition, TokenStatus};

use crate::world::World;

/// Waits until a Token fails for this reason, and checks all that users are promised then.
async fn fails(world: &World, name: &str, reason: &str, parts: &[&str]) -> Condition {
    let ready = world.condition(name, "Ready", "False", reason).await;
    for part in parts {
        assert!(
            ready.message.contains(part),
            "{reason}: no {part:?} in {}",
            ready.message
        );
    }
    let status = world.status(name).await;
    check_status(&status, reason);
    let events = world.events(name).await;
    let told = events.iter().find(|(event, _)| event == reason);
    let (_, note) = told.unwrap_or_else(|| panic!("no Event {reason} of {name}: {events:?}"));
    assert!(note.contains("next attempt at 20"), "{note}");
    for part in parts {
        assert!(note.contains(part), "{reason}: no {part:?} in the Event {note}");
    }
    ready
}

/// The next attempt's time, and exactly one of the conditions of kstatus, with the same reason.
fn check_status(status: &TokenStatus, reason: &str) {
    assert!(status.next_attempt_at.is_some(), "{status:?}");
    assert_eq!(
        status.observed_generation,
        status.condition("Ready").and_then(|c| c.observed_generation)
    );
    let (stalled, reconciling) = (status.condition("Stalled"), status.condition("Reconciling"));
    assert!(stalled.is_some() != reconciling.is_some(), "{status:?}");
    let abnormal = stalled.or(reconciling).map(|c| (&*c.status, &*c.reason));
    assert_eq!(abnormal, Some(("True", reason)), "{status:?}");
}
