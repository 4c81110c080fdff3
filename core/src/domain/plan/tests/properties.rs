//! What holds for every clock, every Secret and every Token.

use proptest::prelude::*;

use super::*;

fn any_time() -> impl Strategy<Value = Timestamp> {
    let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    prop_oneof![
        Just(Timestamp::MIN),
        Just(Timestamp::MAX),
        (first..=last).prop_map(|second| Timestamp::from_second(second).unwrap()),
        (-7200i64..7200).prop_map(at),
    ]
}

fn any_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map("[a-z./]{1,20}", any::<String>(), 0..4)
}

/// Annotations of anyone's, ours among them, with any value.
fn any_annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    let name = prop_oneof![
        prop::sample::select(vec![
            annotation::SCOPE_HASH,
            annotation::FORMAT,
            annotation::METADATA_HASH,
            annotation::ISSUED_AT,
            annotation::EXPIRES_AT,
            annotation::REFRESH_REQUESTED,
        ])
        .prop_map(str::to_owned),
        "[a-z./]{1,20}",
    ];
    let value = prop_oneof![any::<String>(), any_time().prop_map(|time| time.to_string())];
    proptest::collection::btree_map(name, value, 0..8)
}

fn any_content() -> impl Strategy<Value = Content> {
    prop::sample::select(vec![Content::Unknown, Content::Intact, Content::Tampered])
}

fn any_facts() -> impl Strategy<Value = SecretFacts> {
    (
        any_labels(),
        any_annotations(),
        any_content(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(labels, annotations, content, deleting, from_healthy)| {
            let mut facts = healthy(&intent());
            if !from_healthy {
                facts.annotations.clear();
            }
            facts.annotations.extend(annotations);
            SecretFacts {
                labels,
                content,
                deleting,
                held: true,
                ..facts
            }
        })
}

fn any_observed() -> impl Strategy<Value = Observed> {
    let place = prop_oneof![
        Just(Place::Unknown),
        Just(Place::Free),
        ".{0,20}".prop_map(|whose| Place::Foreign { whose }),
        any_facts().prop_map(Place::Ours),
        any_facts().prop_map(Place::Ours),
    ];
    let life = proptest::option::of((any_time(), any_time()));
    (place, life).prop_map(|(place, status_life)| Observed {
        place,
        former: Vec::new(),
        status_life,
        lent: None,
    })
}

fn any_intent() -> impl Strategy<Value = Intent> {
    let request = proptest::option::of(".{0,10}");
    (1u64..=55, request, "[a-z0-9-]{0,36}").prop_map(|(refresh, request, uid)| Intent {
        refresh: Duration::from_secs(60 * refresh),
        refresh_request: request,
        uid,
        ..intent()
    })
}

fn any_app() -> impl Strategy<Value = AppFacts> {
    proptest::option::of(any::<u64>()).prop_map(|installation| AppFacts { installation, ..app() })
}

proptest! {
    #[test]
    fn the_same_facts_lead_to_the_same_plan_at_any_time(
        now in any_time(), intent in any_intent(), app in any_app(), observed in any_observed(),
    ) {
        let planned = plan(now, &intent, &app, &observed);
        prop_assert_eq!(planned, plan(now, &intent.clone(), &app.clone(), &observed.clone()));
    }

    #[test]
    fn a_healthy_secret_is_never_replaced_before_its_time(
        early in 0.0f64..1.0, intent in any_intent(), version in ".{0,10}", uid in ".{0,10}",
        labels in any_labels(), others in proptest::collection::btree_map("[a-z]{1,10}/[a-z]{1,10}", ".{0,10}", 0..4),
    ) {
        let mut facts = healthy(&intent);
        facts.resource_version = version;
        facts.uid = uid;
        facts.labels.extend(labels);
        facts.annotations.extend(others);
        let due = due_time(&intent);
        let before_due = Duration::try_from(due.duration_since(minutes(0))).unwrap().mul_f64(early);
        for now in [minutes(-600), later(minutes(0), before_due)] {
            let planned = plan(now, &intent, &app(), &ours(facts.clone()));
            prop_assert!(matches!(planned, Plan::Rest { .. } | Plan::Rewrite), "{:?}", planned);
        }
    }

    #[test]
    fn labels_and_strange_annotations_decide_between_rewrite_and_rest_only(
        labels in any_labels(), strange in any::<String>(),
    ) {
        let mut facts = healthy(&intent());
        facts.labels = labels;
        facts.annotations.insert(annotation::METADATA_HASH.to_owned(), strange);
        prop_assert_eq!(plan(minutes(1), &intent(), &app(), &ours(facts)), Plan::Rewrite);
    }

    #[test]
    fn a_mint_waits_until_the_expiry_of_what_works_and_not_at_all_for_what_does_not(
        now in any_time(), intent in any_intent(), app in any_app(), observed in any_observed(),
    ) {
        if let Plan::Mint { why, deadline } = plan(now, &intent, &app, &observed) {
            let known = match &observed.place {
                Place::Ours(facts) => [facts.expires_at(), observed.status_life.map(|(_, expires)| expires)],
                _ => [None, None],
            };
            match why {
                Why::Missing | Why::Tampered => prop_assert_eq!(deadline, Timestamp::MIN),
                _ => prop_assert!(known.contains(&Some(deadline)), "{why:?} {deadline} {known:?}"),
            }
        }
    }

    #[test]
    fn a_secret_that_is_due_is_always_replaced(now in any_time(), intent in any_intent()) {
        let planned = plan(now, &intent, &app(), &ours(healthy(&intent)));
        let due = due_time(&intent);
        let wanted = if now >= due { mint(Why::Due, minutes(60)) } else { Plan::Rest { until: due } };
        prop_assert_eq!(planned, wanted);
    }

    #[test]
    fn a_rest_ends_in_the_future_or_never(
        now in any_time(), intent in any_intent(), app in any_app(), observed in any_observed(),
    ) {
        if let Plan::Rest { until } = plan(now, &intent, &app, &observed) {
            prop_assert!(until > now || until == Timestamp::MAX, "{until} is not after {now}");
        }
    }
}
