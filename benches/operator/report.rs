//! What was measured, as a table or as JSON.

use std::fmt::Display;

use serde_json::{Value, json};

/// One measurement.
struct Row {
    scenario: String,
    what: String,
    value: Value,
    unit: &'static str,
    target: String,
    met: Option<bool>,
}

/// All measurements of a run.
pub struct Report {
    json: bool,
    scenario: String,
    rows: Vec<Row>,
    told: usize,
}

impl Report {
    pub fn new(json: bool) -> Self {
        Report {
            json,
            scenario: String::new(),
            rows: Vec::new(),
            told: 0,
        }
    }

    /// What follows belongs to this scenario.
    pub fn begin(&mut self, scenario: &str) {
        scenario.clone_into(&mut self.scenario);
    }

    /// The scenario is over: its rows are shown, since the next one takes its time.
    pub fn end(&mut self) {
        if !self.json {
            for row in &self.rows[self.told..] {
                println!("{}", row.line());
            }
            self.told = self.rows.len();
        }
    }

    /// A measurement without a target.
    pub fn tell(&mut self, what: impl Display, value: f64, unit: &'static str) {
        self.add(what, value, unit, String::new(), None);
    }

    /// A measurement that should be at most this.
    pub fn at_most(&mut self, what: impl Display, value: f64, unit: &'static str, target: f64) {
        self.add(what, value, unit, format!("at most {target}"), Some(value <= target));
    }

    /// A measurement that should be at least this.
    pub fn at_least(&mut self, what: impl Display, value: f64, unit: &'static str, target: f64) {
        self.add(what, value, unit, format!("at least {target}"), Some(value >= target));
    }

    fn add(&mut self, what: impl Display, value: f64, unit: &'static str, target: String, met: Option<bool>) {
        let value = json!((value * 100.0).round() / 100.0);
        self.rows.push(Row {
            scenario: self.scenario.clone(),
            what: what.to_string(),
            value,
            unit,
            target,
            met,
        });
    }

    /// The end of the run: JSON, or how many targets were met.
    pub fn print(&self) {
        if self.json {
            let rows = self.rows.iter().map(|row| {
                json!({"scenario": row.scenario, "what": row.what, "value": row.value, "unit": row.unit,
                    "target": row.target, "met": row.met})
            });
            println!("{}", Value::from_iter(rows));
            return;
        }
        let targets = self.rows.iter().filter_map(|row| row.met);
        let (met, missed): (Vec<bool>, Vec<bool>) = targets.partition(|met| *met);
        println!("\n{} targets met, {} missed", met.len(), missed.len());
    }
}

impl Row {
    fn line(&self) -> String {
        let verdict = match self.met {
            None => "",
            Some(true) => "met",
            Some(false) => "MISSED",
        };
        let value = self.value.as_f64().unwrap_or_default();
        let (scenario, what, unit, target) = (&self.scenario, &self.what, self.unit, &self.target);
        let line = format!("{scenario:<9} {what:<62} {value:>10} {unit:<8} {target:<14} {verdict}");
        line.trim_end().to_owned()
    }
}
