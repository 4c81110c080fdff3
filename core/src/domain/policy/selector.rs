//! Label selectors, as Kubernetes reads them
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>).

use crate::api::{LabelRequirement, NamespaceSelector};
use crate::domain::name::{LABEL_VALUES, QUALIFIED_NAMES, is_label_name, is_label_value};
use crate::domain::quote;

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
    /// Reads a selector.
    ///
    /// # Errors
    /// What no label can be, or no requirement: it would select nothing, and the policy would be switched off. Names the field, the
    /// value and the cure.
    pub fn new(selector: Option<&NamespaceSelector>) -> Result<Self, String> {
        let Some(selector) = selector else {
            return Ok(Selector::All);
        };
        let equal = selector.match_labels.iter().map(|(key, value)| equality(key, value));
        let others = selector.match_expressions.iter().enumerate();
        let others = others.map(|(number, rule)| {
            requirement(rule).map_err(|wrong| format!("spec.namespaceSelector.matchExpressions[{number}].{wrong}"))
        });
        let all = equal.chain(others).collect::<Result<Vec<_>, _>>()?;
        Ok(if all.is_empty() {
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

fn equality(key: &str, value: &str) -> Result<Requirement, String> {
    let field = "spec.namespaceSelector.matchLabels";
    label_name(key).map_err(|wrong| format!("{field}: {wrong}"))?;
    label_value(value).map_err(|wrong| format!("{field}.{key}: {wrong}"))?;
    Ok(Requirement::In(key.to_owned(), vec![value.to_owned()]))
}

fn requirement(rule: &LabelRequirement) -> Result<Requirement, String> {
    label_name(&rule.key).map_err(|wrong| format!("key: {wrong}"))?;
    let each = rule.values.iter().try_for_each(|value| label_value(value));
    each.map_err(|wrong| format!("values: {wrong}"))?;
    let (key, values) = (rule.key.clone(), rule.values.clone());
    match rule.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => Err(format!("values: none for {}; write at least one", rule.operator)),
        "In" => Ok(Requirement::In(key, values)),
        "NotIn" => Ok(Requirement::NotIn(key, values)),
        "Exists" => Ok(Requirement::Exists(key)),
        "DoesNotExist" => Ok(Requirement::DoesNotExist(key)),
        other => Err(format!(
            "operator: '{}' is none that this version knows; write In, NotIn, Exists or DoesNotExist",
            quote(other)
        )),
    }
}

fn label_name(text: &str) -> Result<(), String> {
    let wrong = || format!("'{}' is no label's name: {QUALIFIED_NAMES}", quote(text));
    is_label_name(text).then_some(()).ok_or_else(wrong)
}

fn label_value(text: &str) -> Result<(), String> {
    let wrong = || format!("'{}' is no label's value: {LABEL_VALUES}", quote(text));
    is_label_value(text).then_some(()).ok_or_else(wrong)
}
