//! What is done when, by a clock that the tests set.

use super::*;

const DAY: i64 = 24 * 60 * 60;
const MINUTE: i64 = 60;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn made(id: &str, seconds: i64) -> Authority {
    let terms = Terms::default();
    Authority {
        id: id.into(),
        life: Life::new(at(seconds), terms.authority, terms.backdate),
    }
}

fn settled() -> Stored {
    Stored {
        signer: Some(made("a", 0)),
        published_at: Some(at(0)),
        ..Stored::default()
    }
}

fn decide(seconds: i64, stored: &Stored, published: bool) -> Step {
    step(at(seconds), stored, published, &Terms::default())
}

#[test]
fn an_empty_cluster_gets_an_authority_that_is_published_and_confirmed() {
    assert_eq!(decide(0, &Stored::default(), true), Step::Create);
    let fresh = Stored {
        signer: Some(made("a", 0)),
        ..Stored::default()
    };
    assert_eq!(decide(0, &fresh, false), Step::Publish);
    assert_eq!(decide(0, &fresh, true), Step::Confirm);
    assert_eq!(decide(1, &settled(), true), Step::Rest);
}

#[test]
fn an_authority_is_replaced_after_two_thirds_of_its_year_in_two_phases() {
    let due = 365 * DAY / 3 * 2;
    assert_eq!(decide(due - DAY, &settled(), true), Step::Rest);
    assert_eq!(decide(due, &settled(), true), Step::Prepare);
    let mut stored = Stored {
        next: Some(made("b", due)),
        published_at: None,
        ..settled()
    };
    assert_eq!(decide(due, &stored, false), Step::Publish);
    assert_eq!(decide(due, &stored, true), Step::Confirm);
    stored.published_at = Some(at(due));
    assert_eq!(decide(due + 5 * MINUTE - 1, &stored, true), Step::Rest);
    assert_eq!(decide(due + 5 * MINUTE, &stored, true), Step::Switch);
    let switched = due + 5 * MINUTE;
    let after = Stored {
        signer: stored.next.clone(),
        next: None,
        previous: stored.signer.into_iter().collect(),
        switched_at: Some(at(switched)),
        published_at: stored.published_at,
    };
    assert_eq!(decide(switched + 7 * DAY, &after, true), Step::Rest);
    assert_eq!(decide(switched + 7 * DAY + 5 * MINUTE, &after, true), Step::Forget);
}

#[test]
fn a_configuration_that_loses_the_next_authority_starts_the_wait_anew() {
    let stored = Stored {
        next: Some(made("b", 0)),
        ..settled()
    };
    assert_eq!(decide(5 * MINUTE, &stored, false), Step::Recall);
    let recalled = Stored {
        published_at: None,
        ..stored
    };
    assert_eq!(decide(5 * MINUTE, &recalled, false), Step::Publish);
}

#[test]
fn a_signer_that_is_over_or_not_yet_good_is_replaced_at_once() {
    assert_eq!(decide(366 * DAY, &settled(), true), Step::Create);
    assert_eq!(decide(-DAY, &settled(), true), Step::Create);
    let stored = Stored {
        next: Some(made("b", 300 * DAY)),
        ..settled()
    };
    assert_eq!(decide(366 * DAY, &stored, true), Step::Switch);
}

#[test]
fn a_clock_that_jumps_a_day_changes_no_authority() {
    for jump in [-4 * MINUTE, DAY, 7 * DAY] {
        assert_eq!(decide(jump, &settled(), true), Step::Rest, "{jump}");
    }
    // Confirmed by a clock that was a day ahead.
    let ahead = Stored {
        published_at: Some(at(DAY)),
        next: Some(made("b", 0)),
        ..settled()
    };
    assert_eq!(decide(1, &ahead, true), Step::Switch);
}

fn leaf(signer: &str, seconds: i64) -> Leaf {
    let terms = Terms::default();
    let life = Life::new(at(seconds), terms.leaf, terms.backdate);
    Leaf {
        signer: signer.into(),
        life,
        names: vec!["x.svc".into()],
    }
}

fn wants(seconds: i64, stored: &Stored, leaf: Option<&Leaf>) -> bool {
    wants_leaf(at(seconds), stored, leaf, &["x.svc".to_owned()], &Terms::default())
}

#[test]
fn a_leaf_is_renewed_after_two_thirds_of_its_week_and_whenever_the_clock_has_left_it() {
    let stored = settled();
    assert!(wants(0, &stored, None));
    assert!(!wants(4 * DAY, &stored, Some(&leaf("a", 0))));
    assert!(wants(5 * DAY, &stored, Some(&leaf("a", 0))));
    assert!(wants(0, &stored, Some(&leaf("a", DAY))));
    assert!(wants_leaf(
        at(1),
        &stored,
        Some(&leaf("a", 0)),
        &["y.svc".to_owned()],
        &Terms::default()
    ));
}

#[test]
fn a_leaf_outlives_its_signer_until_the_new_one_is_trusted_everywhere() {
    let hurried = Stored {
        signer: Some(made("b", 0)),
        previous: vec![made("a", 0)],
        published_at: Some(at(0)),
        ..Stored::default()
    };
    assert!(!wants(MINUTE, &hurried, Some(&leaf("a", 0))));
    assert!(wants(5 * MINUTE, &hurried, Some(&leaf("a", 0))));
    assert!(
        wants(MINUTE, &hurried, None),
        "a replica that has just started has no other"
    );
    let stranger = Stored {
        previous: Vec::new(),
        ..hurried
    };
    assert!(
        wants(MINUTE, &stranger, Some(&leaf("a", 0))),
        "nobody trusts the old one"
    );
}

#[test]
fn a_clock_that_jumps_back_a_day_makes_nobody_serve_what_is_not_published() {
    let young = Stored {
        signer: Some(made("b", -DAY)),
        previous: vec![made("a", 0)],
        ..Stored::default()
    };
    assert!(!wants(-DAY, &young, Some(&leaf("a", 0))), "b is not trusted yet");
    let published = Stored {
        published_at: Some(at(-DAY)),
        ..young
    };
    assert!(wants(-DAY, &published, Some(&leaf("a", 0))));
}

#[test]
fn nothing_is_signed_by_an_authority_that_is_over() {
    assert!(!wants(366 * DAY, &settled(), None));
}

mod simulated {
    use proptest::prelude::*;

    use super::*;

    /// Runs the steps as a replica does; what is trusted, and by whom the leaf is signed.
    struct World {
        stored: Stored,
        bundle: Vec<String>,
        leaf: Option<Leaf>,
        made: u32,
    }

    impl World {
        fn wanted(&self) -> Vec<String> {
            let all = self
                .stored
                .signer
                .iter()
                .chain(&self.stored.next)
                .chain(&self.stored.previous);
            all.map(|authority| authority.id.clone()).collect()
        }

        fn run(&mut self, now: i64) {
            let terms = Terms::default();
            for _ in 0..10 {
                let step = step(at(now), &self.stored, self.bundle == self.wanted(), &terms);
                self.made += 1;
                let fresh = Some(made(&format!("ca-{}", self.made), now));
                match step {
                    Step::Create => {
                        let old = self.stored.signer.take();
                        self.stored = Stored {
                            signer: fresh,
                            previous: old.into_iter().collect(),
                            switched_at: Some(at(now)),
                            ..Stored::default()
                        };
                    }
                    Step::Prepare => (self.stored.next, self.stored.published_at) = (fresh, None),
                    Step::Publish => self.bundle = self.wanted(),
                    Step::Recall => self.stored.published_at = None,
                    Step::Confirm => self.stored.published_at = Some(at(now)),
                    Step::Switch => {
                        self.stored.previous = self.stored.signer.take().into_iter().collect();
                        (self.stored.signer, self.stored.switched_at) = (self.stored.next.take(), Some(at(now)));
                    }
                    Step::Forget => self.stored.previous.clear(),
                    Step::Rest => break,
                }
            }
            if wants(now, &self.stored, self.leaf.as_ref()) {
                self.leaf = self.stored.signer.as_ref().map(|signer| leaf(&signer.id, now));
            }
        }
    }

    proptest! {
        #[test]
        fn at_every_moment_of_years_the_leaf_is_good_and_trusted(pauses in proptest::collection::vec(MINUTE..2 * DAY, 1..600)) {
            let mut world = World { stored: Stored::default(), bundle: Vec::new(), leaf: None, made: 0 };
            let mut now = 0;
            for pause in pauses {
                world.run(now);
                let leaf = world.leaf.clone().unwrap();
                prop_assert!(leaf.life.holds(at(now)));
                prop_assert!(world.bundle.contains(&leaf.signer), "{} of {:?}", leaf.signer, world.bundle);
                let signer = world.wanted();
                prop_assert!(signer.len() <= 3);
                now += pause;
            }
        }
    }
}
