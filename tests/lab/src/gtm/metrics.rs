//! Reads samples out of Prometheus' text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt;

/// The answer of a `/metrics` endpoint.
#[derive(Debug, Clone)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    pub(super) fn new(text: String) -> Self {
        Self { text }
    }

    /// The value of the metric `name`, over all series that carry at least these labels: their sum.
    /// `None` when there is no such series.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let samples = self.text.lines().filter_map(|line| sample(line, name));
        let values = samples.filter(|(own, _)| {
            let has = |(key, value): &(&str, &str)| own.iter().any(|(k, v)| k == key && v == value);
            labels.iter().all(has)
        });
        values.map(|(_, value)| value).reduce(|sum, value| sum + value)
    }
}

impl fmt::Display for Metrics {
    /// The text as it came.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

type Labels = Vec<(String, String)>;

/// Labels and value of a line `name{label="text",…} value [timestamp]`, when it is of the metric `name`.
fn sample(line: &str, name: &str) -> Option<(Labels, f64)> {
    let rest = line.strip_prefix(name)?;
    let (labels, value) = match rest.strip_prefix('{') {
        Some(inside) => read_labels(inside)?,
        None if rest.starts_with([' ', '\t']) => (Labels::new(), rest),
        None => return None,
    };
    let value = value.split_whitespace().next()?.parse().ok()?;
    Some((labels, value))
}

/// Reads up to the closing brace and returns what follows it.
fn read_labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (key, quoted) = rest.split_once("=\"")?;
        let (value, after) = read_quoted(quoted)?;
        labels.push((key.trim().to_owned(), value));
        rest = after;
    }
}

/// Reads up to the closing quote, resolving `\\`, `\"` and `\n`, and returns what follows it.
fn read_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((index, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels_and_summed() {
        let metrics = Metrics::new(
            concat!(
                "# HELP x_total A counter\n# TYPE x_total counter\n",
                "x_total{kind=\"Token\",why=\"a \\\"b\\\", {c}\"} 3\n",
                "x_total{kind=\"Token\",why=\"other\"} 1.5 1700000000\n",
                "x_total{kind=\"App\"} 40\n",
                "x_total_created{kind=\"Token\"} 1000\n",
                "up 1\n",
            )
            .into(),
        );
        assert_eq!(metrics.value("x_total", &[("kind", "Token")]), Some(4.5));
        assert_eq!(metrics.value("x_total", &[]), Some(44.5));
        assert_eq!(metrics.value("x_total", &[("why", "a \"b\", {c}")]), Some(3.0));
        assert_eq!(metrics.value("up", &[]), Some(1.0));
        assert_eq!(metrics.value("x_total", &[("kind", "Pod")]), None);
        assert_eq!(metrics.value("x", &[]), None);
    }
}
