//! What was measured, as a table or as JSON.

use std::fmt::Write;

use serde::Serialize;

/// What a number has to be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Nothing: it explains other numbers.
    Free,
    /// This much, or less.
    AtMost(f64),
    /// This much, or more.
    AtLeast(f64),
}

/// One number.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Which scenario it belongs to.
    pub scenario: &'static str,
    /// What it says.
    pub what: String,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it has to be.
    pub target: Target,
    /// Whether it is.
    pub met: bool,
}

/// All numbers of a run.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Adds a number, and shows it at once.
    pub fn add(
        &mut self,
        scenario: &'static str,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        target: Target,
    ) {
        let met = match target {
            Target::Free => true,
            Target::AtMost(limit) => value <= limit,
            Target::AtLeast(limit) => value >= limit,
        };
        let what = what.into();
        let row = Row {
            scenario,
            what,
            value,
            unit,
            target,
            met,
        };
        eprintln!("  {}: {} {}", row.what, number(row.value), row.unit);
        self.rows.push(row);
    }

    /// Whether a target was missed.
    pub fn missed(&self) -> bool {
        self.rows.iter().any(|row| !row.met)
    }

    /// For programs: one array of rows.
    pub fn json(&self) -> String {
        serde_json::json!(self.rows).to_string()
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = String::new();
        for row in &self.rows {
            let target = match row.target {
                Target::Free => String::new(),
                Target::AtMost(limit) => format!("<= {}", number(limit)),
                Target::AtLeast(limit) => format!(">= {}", number(limit)),
            };
            let verdict = if row.met { "" } else { "MISSED" };
            let value = number(row.value);
            // Writing to a String cannot fail.
            let _ = writeln!(
                table,
                "{:<8} {:<58} {value:>9} {:<12} {target:>9} {verdict}",
                row.scenario, row.what, row.unit
            );
        }
        table
    }
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 || value >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
