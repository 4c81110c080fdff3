//! What holds for every sequence of outcomes.

use proptest::prelude::*;

use super::*;

fn any_case() -> impl Strategy<Value = Case> {
    let problem = prop_oneof![Just(None), Just(Some(outage())), Just(Some(mistake()))];
    let nanos = (-10_000_000_000_000i64..10_000_000_000_000)
        .prop_map(|nanos| at(0) + Duration::from_secs(10_000) - jiff::SignedDuration::from_nanos(nanos));
    let next = proptest::option::of(0u64..1_000_000_000);
    let flags = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    (nanos, 0i64..100, problem, flags, next).prop_map(
        |(now, generation, problem, (readable, there, wrote, granted, warned), next)| Case {
            now,
            generation,
            intent: readable.then(intent),
            facts: there.then(|| facts("20")),
            wrote,
            granted: Case::issued().granted.filter(|_| granted),
            problem,
            warnings: warned
                .then(|| Warning {
                    reason: Reason::UnknownPermission,
                    message: "spec.permissions: 'x'".to_owned(),
                })
                .into_iter()
                .collect(),
            next: next.map(|micros| now + Duration::from_micros(micros)),
        },
    )
}

proptest! {
    #[test]
    fn settling_twice_is_settling_once_even_through_the_api_server(first in any_case(), second in any_case()) {
        let stored = |status: &TokenStatus| -> TokenStatus {
            serde_json::from_value(serde_json::to_value(status).unwrap()).unwrap()
        };
        let before = stored(&first.settle(&TokenStatus::default()));
        let once = second.settle(&before);
        prop_assert_eq!(&second.settle(&once), &once);
        prop_assert_eq!(&stored(&once), &once);
        prop_assert_eq!(&second.settle(&stored(&once)), &once);
    }

    #[test]
    fn conditions_are_as_kstatus_wants_them(first in any_case(), second in any_case()) {
        let status = second.settle(&first.settle(&TokenStatus::default()));
        prop_assert_eq!(status.observed_generation, Some(second.generation));
        for condition in &status.conditions {
            prop_assert_eq!(condition.observed_generation, Some(second.generation));
            prop_assert!(condition.kind == condition::READY || condition.status == "True", "{:?}", condition);
            prop_assert!(condition.last_transition_time <= Time::from(first.now.max(second.now)));
        }
        let mut seen = kinds(&status);
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), count);
        let ready = condition(&status, condition::READY).status == "True";
        let abnormal = [condition::RECONCILING, condition::STALLED]
            .into_iter()
            .filter(|kind| status.condition(kind).is_some())
            .count();
        prop_assert_eq!(abnormal, usize::from(!ready));
    }
}
