//! Real scrapes of `/metrics` as the series of a test of rules: three scrapes, ten minutes apart.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Samples for which each scrape stands, one a minute.
const EACH: usize = 10;
/// When the last scrape has stood for a while.
pub const END: &str = "39m";
/// Stands for what nothing limits: a test of rules knows no infinity.
const UNLIMITED: f64 = 1e9;
/// The metrics whose values are times since 1970; a test of rules begins there.
const TIMES: &str = "token_expiry_timestamp_seconds";

/// One scrape: series -> value.
#[derive(Clone, Debug)]
pub struct Scrape {
    pub samples: BTreeMap<String, f64>,
    at: f64,
}

impl Scrape {
    pub fn new(text: &str) -> Scrape {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        #[expect(clippy::disallowed_methods, reason = "the operator's clock: expiries are told by it")]
        let at = jiff::Timestamp::now().as_second() as f64;
        Scrape {
            samples: samples.collect(),
            at,
        }
    }

    /// The names of the labels of a metric, or `None` if there is no such metric.
    pub fn labels(&self, metric: &str) -> Option<BTreeSet<&str>> {
        let own = self.samples.keys().filter(|series| name(series) == metric);
        let mut found = None;
        for series in own {
            let labels: &mut BTreeSet<&str> = found.get_or_insert_default();
            let inside = series
                .split_once('{')
                .map_or("", |(_, rest)| rest.trim_end_matches('}'));
            labels.extend(inside.split("\",").filter_map(|pair| Some(pair.split_once('=')?.0)));
        }
        found
    }
}

/// The metric of a series.
pub fn name(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

/// `input_series` of promtool. What a scrape lacks is missing; the last one stands until the end.
pub fn input_series(scrapes: &[&Scrape; 3]) -> Value {
    let all: BTreeSet<&String> = scrapes.iter().flat_map(|scrape| scrape.samples.keys()).collect();
    let values = |series: &str| {
        let values = scrapes.iter().enumerate().map(|(index, scrape)| {
            let start = (index * EACH * 60) as f64;
            let count = if index == 2 { 2 * EACH } else { EACH } - 1;
            match scrape.samples.get(series) {
                Some(value) if name(series) == TIMES => format!("{}x{count}", value - scrape.at + start),
                Some(value) => format!("{}x{count}", value.min(UNLIMITED)),
                None => format!("_x{}", count + 1),
            }
        });
        values.collect::<Vec<_>>().join(" ")
    };
    all.into_iter()
        .map(|series| json!({"series": series, "values": values(series)}))
        .collect()
}
