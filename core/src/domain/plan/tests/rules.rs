//! Each rule of the rotation that `plan` decides, by name.

use super::*;

#[test]
fn rule_1_a_missing_rescoped_or_tampered_secret_mints_and_a_healthy_one_does_not() {
    let rescoped = fixtures::intent(json!({"permissions": {"contents": "write"}, "secret": {"labels": {"team": "a"}}}));
    let healthy_one = ours(healthy(&intent()));
    let is_mint =
        |intent: &Intent, observed: &Observed| matches!(plan(minutes(1), intent, &app(), observed), Plan::Mint { .. });
    assert!(is_mint(&intent(), &at_place(Place::Free)));
    assert!(is_mint(&intent(), &with(|facts| facts.content = Content::Tampered)));
    assert!(is_mint(&rescoped, &healthy_one));
    assert!(!is_mint(&intent(), &healthy_one));
}

#[test]
fn rule_1_a_token_of_another_app_or_installation_is_another_token() {
    let observed = ours(healthy(&intent()));
    let other_app = AppFacts {
        identity: "https://api.github.com#2".to_owned(),
        ..app()
    };
    let other_installation = AppFacts {
        installation: Some(8),
        ..app()
    };
    for app in [other_app, other_installation] {
        let planned = plan(minutes(1), &intent(), &app, &observed);
        assert_eq!(planned, mint(Why::ScopeChanged, minutes(60)));
    }
}

#[test]
fn rule_1_the_specs_installation_wins_over_the_apps() {
    let mut intent = intent();
    intent.installation = Some(INSTALLATION);
    let elsewhere = AppFacts {
        installation: Some(8),
        ..app()
    };
    let planned = plan(minutes(1), &intent, &elsewhere, &ours(healthy(&intent)));
    assert_eq!(
        planned,
        Plan::Rest {
            until: due_time(&intent)
        }
    );
}

#[test]
fn rule_2_the_due_time_comes_by_the_interval_less_jitter_and_by_the_expiry_less_its_reserve() {
    for (refresh, from, to) in [("30m", 27, 30), ("55m", 40, 45), ("1m", 0, 1)] {
        let intent = fixtures::intent(json!({"refreshInterval": refresh}));
        let planned = plan(minutes(0), &intent, &app(), &ours(healthy(&intent)));
        let Plan::Rest { until } = planned else {
            panic!("{refresh}: {planned:?}");
        };
        assert!(until > minutes(from) && until <= minutes(to), "{refresh}: {until}");
        let before = later(until, Duration::ZERO) - Duration::from_nanos(1);
        let observed = ours(healthy(&intent));
        assert_eq!(plan(before, &intent, &app(), &observed), planned, "{refresh}");
        assert_eq!(
            plan(until, &intent, &app(), &observed),
            mint(Why::Due, minutes(60)),
            "{refresh}"
        );
    }
}

#[test]
fn rule_4_a_missing_secret_counts_as_expired_and_any_other_waits_until_its_expiry() {
    let deadline = |now, observed: &Observed| match plan(now, &intent(), &app(), observed) {
        Plan::Mint { deadline, .. } => deadline,
        other => panic!("{other:?}"),
    };
    assert_eq!(deadline(minutes(1), &at_place(Place::Free)), Timestamp::MIN);
    assert_eq!(deadline(minutes(31), &ours(healthy(&intent()))), minutes(60));
    assert_eq!(deadline(minutes(31), &adopted(&intent())), minutes(60));
}

#[test]
fn rule_7_another_format_mints_before_anything_is_removed_and_a_former_name_goes_last() {
    let netrc = fixtures::intent(json!({"permissions": {"contents": "read"}, "secret": {"format": "netrc"}}));
    let former = SecretKey {
        namespace: "team-a".into(),
        name: "old".into(),
    };
    let observed = |facts| Observed {
        former: vec![former.clone()],
        ..ours(facts)
    };
    let planned = plan(minutes(1), &netrc, &app(), &observed(healthy(&intent())));
    assert_eq!(planned, mint(Why::FormatChanged, minutes(60)));
    let missing = Observed {
        place: Place::Free,
        ..observed(healthy(&netrc))
    };
    assert_eq!(
        plan(minutes(1), &netrc, &app(), &missing),
        mint(Why::Missing, Timestamp::MIN)
    );
    let planned = plan(minutes(1), &netrc, &app(), &observed(healthy(&netrc)));
    assert_eq!(planned, Plan::Remove(vec![former.clone()]));
}

#[test]
fn rule_7_another_text_of_a_template_is_another_format() {
    let template = |text: &str| fixtures::intent(json!({"secret": {"format": "template", "template": {"k": text}}}));
    let (old, new) = (template("{{ .token }}"), template("token={{ .token }}"));
    let observed = ours(healthy(&old));
    assert!(matches!(plan(minutes(1), &old, &app(), &observed), Plan::Rest { .. }));
    assert_eq!(
        plan(minutes(1), &new, &app(), &observed),
        mint(Why::FormatChanged, minutes(60))
    );
}

#[test]
fn rule_8_a_secret_that_is_being_deleted_is_left_alone_until_it_is_gone() {
    let planned = plan(minutes(90), &intent(), &app(), &with(|facts| facts.deleting = true));
    assert_eq!(planned, Plan::Rest { until: Timestamp::MAX });
}

#[test]
fn rule_10_a_foreign_secret_is_refused_whatever_the_time() {
    for now in [Timestamp::MIN, minutes(0), Timestamp::MAX] {
        let foreign = at_place(Place::Foreign {
            whose: "is not managed by this operator".to_owned(),
        });
        assert!(matches!(plan(now, &intent(), &app(), &foreign), Plan::Refuse(_)));
    }
}

#[test]
fn relabelling_never_mints() {
    let mut relabelled = intent();
    relabelled.secret.labels.insert("team".to_owned(), "b".to_owned());
    relabelled.secret.annotations.clear();
    let observed = ours(healthy(&intent()));
    assert_eq!(plan(minutes(1), &relabelled, &app(), &observed), Plan::Rewrite);
    // Once rewritten, there is peace.
    let planned = plan(minutes(1), &relabelled, &app(), &ours(healthy(&relabelled)));
    assert!(matches!(planned, Plan::Rest { .. }), "{planned:?}");
}

#[test]
fn a_refresh_request_is_served_once() {
    let mut asking = intent();
    let before = ours(healthy(&asking));
    asking.refresh_request = Some("2026-01-02T03:04:05Z".to_owned());
    assert_eq!(
        plan(minutes(1), &asking, &app(), &before),
        mint(Why::Requested, minutes(60))
    );
    let served = ours(healthy(&asking));
    assert!(matches!(plan(minutes(1), &asking, &app(), &served), Plan::Rest { .. }));
    // Taking the request away asks for nothing; another one does.
    asking.refresh_request = None;
    assert!(matches!(plan(minutes(1), &asking, &app(), &served), Plan::Rest { .. }));
    asking.refresh_request = Some("again".to_owned());
    assert_eq!(
        plan(minutes(1), &asking, &app(), &served),
        mint(Why::Requested, minutes(60))
    );
}

#[test]
fn a_secret_of_the_peer_is_adopted_while_it_is_good_and_replaced_when_it_is_due() {
    let intent = intent();
    for (now, wanted) in [
        (1, Plan::Rewrite),
        (26, Plan::Rewrite),
        (30, mint(Why::Due, minutes(60))),
        (61, mint(Why::Due, minutes(60))),
    ] {
        assert_eq!(
            plan(minutes(now), &intent, &app(), &adopted(&intent)),
            wanted,
            "minute {now}"
        );
    }
}

#[test]
fn a_secret_of_the_peer_whose_life_nobody_knows_is_replaced() {
    let intent = intent();
    let planned = plan(minutes(1), &intent, &app(), &ours(of_the_peer(&intent)));
    assert_eq!(planned, mint(Why::Tampered, Timestamp::MIN));
}

#[test]
fn a_secret_without_scope_hash_is_known_by_the_status_alone() {
    // Else it would be rewritten again and again: there would be nothing to write down.
    let planned = plan(minutes(1), &intent(), &app(), &without(annotation::SCOPE_HASH));
    assert_eq!(planned, mint(Why::Tampered, Timestamp::MIN));
}

#[test]
fn an_unknown_installation_keeps_a_good_secret_and_asks_for_a_token_to_say_what_is_missing() {
    let nowhere = AppFacts {
        installation: None,
        ..app()
    };
    let intent = intent();
    // Never `Rewrite`: without an installation there is no scope hash to write down, so it would never end.
    for observed in [ours(healthy(&intent)), adopted(&intent)] {
        let planned = plan(minutes(1), &intent, &nowhere, &observed);
        assert_eq!(planned, mint(Why::ScopeChanged, minutes(60)));
    }
    let tampered = plan(
        minutes(1),
        &intent,
        &nowhere,
        &with(|facts| facts.content = Content::Unknown),
    );
    assert_eq!(tampered, Plan::Inspect);
}

#[test]
fn a_token_of_another_app_of_the_pool_is_as_good_as_one_of_its_own() {
    let intent = intent();
    let other = |hash: Option<&str>| {
        let mut observed = annotated(annotation::SCOPE_HASH, "of-another-app");
        observed.lent = Some(Lent::For(hash.map(str::to_owned)));
        plan(minutes(1), &intent, &app(), &observed)
    };
    let why = |plan| match plan {
        Plan::Mint { why, .. } => Some(why),
        _ => None,
    };
    assert!(matches!(other(Some("of-another-app")), Plan::Rest { .. }));
    assert_eq!(why(other(Some("of-another-scope"))), Some(Why::ScopeChanged));
    assert_eq!(why(other(None)), Some(Why::ScopeChanged));

    let mut unknown = annotated(annotation::SCOPE_HASH, "of-another-app");
    unknown.lent = Some(Lent::Unknown);
    assert!(matches!(plan(minutes(1), &intent, &app(), &unknown), Plan::Rest { .. }));
    assert_eq!(why(plan(minutes(55), &intent, &app(), &unknown)), Some(Why::Due));
}
