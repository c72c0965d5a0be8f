//! What a benchmark found.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Figures in the order in which they are shown.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

#[derive(Debug)]
struct Figure {
    key: String,
    value: f64,
    meaning: String,
}

impl Figures {
    /// Adds a figure whose `key` ends in its unit.
    pub(crate) fn add(&mut self, key: &str, value: f64, meaning: &str) {
        self.0.push(Figure {
            key: key.to_owned(),
            value: rounded(value),
            meaning: meaning.to_owned(),
        });
    }

    /// Prints the table, and writes the figures to `file` as one flat JSON object.
    pub(crate) fn show(&self, file: Option<&Path>) -> Result<()> {
        let width = |of: fn(&Figure) -> usize| self.0.iter().map(of).max().unwrap_or_default();
        let keys = width(|figure| figure.key.len());
        let values = width(|figure| figure.value.to_string().len());
        for Figure { key, value, meaning } in &self.0 {
            println!("{key:keys$}  {value:>values$}  {meaning}");
        }
        let Some(file) = file else {
            return Ok(());
        };
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        }
        fs::write(file, self.json()).with_context(|| file.display().to_string())?;
        println!("\nwritten to {}", file.display());
        Ok(())
    }

    fn json(&self) -> String {
        let object: serde_json::Map<_, _> = self
            .0
            .iter()
            .map(|figure| (figure.key.clone(), figure.value.into()))
            .collect();
        format!("{:#}\n", serde_json::Value::Object(object))
    }
}

/// The median and the least of some rounds; not a number where there are none.
pub(crate) fn median_and_least(rounds: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let mut rounds: Vec<_> = rounds.into_iter().collect();
    rounds.sort_by(f64::total_cmp);
    let middle = rounds.len() / 2;
    let median = match (rounds.get(middle.wrapping_sub(1)), rounds.get(middle)) {
        (Some(below), Some(above)) if rounds.len().is_multiple_of(2) => f64::midpoint(*below, *above),
        (_, middle) => middle.copied().unwrap_or(f64::NAN),
    };
    (median, rounds.first().copied().unwrap_or(f64::NAN))
}

/// Four digits are more than any of this is exact to.
fn rounded(value: f64) -> f64 {
    if value.abs() >= 1000.0 {
        value.round()
    } else {
        format!("{value:.3e}").parse().unwrap_or(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_of_rounds_lies_between_two() {
        assert_eq!(median_and_least([3.0, 1.0, 2.0]), (2.0, 1.0));
        assert_eq!(median_and_least([4.0, 1.0, 2.0, 3.0]), (2.5, 1.0));
        assert!(median_and_least([]).0.is_nan());
    }

    #[test]
    fn figures_become_flat_json() {
        let mut figures = Figures::default();
        figures.add("p99_us", 123_456.7, "");
        figures.add("cpu_fraction", 0.004_321_987, "");
        let json: serde_json::Value = serde_json::from_str(&figures.json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"p99_us": 123_457.0, "cpu_fraction": 0.004_322})
        );
    }
}
