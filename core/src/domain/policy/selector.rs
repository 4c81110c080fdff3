//! Label selectors, as Kubernetes reads them
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>).

use crate::api::NamespaceSelector;

use super::Labels;

/// Which namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selector {
    /// All of them.
    All,
    /// Those that fit every requirement.
    Some(Vec<Requirement>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
}

impl Selector {
    /// `None` where an operator is none that this version knows, or lacks its values.
    pub fn new(selector: Option<&NamespaceSelector>) -> Option<Self> {
        let Some(selector) = selector else {
            return Some(Selector::All);
        };
        let equal = selector.match_labels.iter();
        let equal = equal.map(|(key, value)| Some(Requirement::In(key.clone(), vec![value.clone()])));
        let others = selector.match_expressions.iter().map(|rule| {
            let (key, values) = (rule.key.clone(), rule.values.clone());
            match rule.operator.as_str() {
                "In" if !values.is_empty() => Some(Requirement::In(key, values)),
                "NotIn" if !values.is_empty() => Some(Requirement::NotIn(key, values)),
                "Exists" => Some(Requirement::Exists(key)),
                "DoesNotExist" => Some(Requirement::DoesNotExist(key)),
                _ => None,
            }
        });
        let all = equal.chain(others).collect::<Option<Vec<_>>>()?;
        Some(if all.is_empty() {
            Selector::All
        } else {
            Selector::Some(all)
        })
    }

    pub fn fits(&self, labels: &Labels) -> bool {
        let Selector::Some(requirements) = self else {
            return true;
        };
        requirements.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::DoesNotExist(key) => !labels.contains_key(key),
        })
    }
}
