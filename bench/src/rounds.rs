//! A figure that was measured several times.

use serde::Serialize;

/// One figure over the rounds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Rounds {
    values: Vec<f64>,
}

impl Rounds {
    pub(crate) fn add(&mut self, value: f64) {
        self.values.push(value);
        self.values.sort_by(f64::total_cmp);
    }

    pub(crate) fn median(&self) -> f64 {
        let middle = self.values.len() / 2;
        match (self.values.get(middle), self.values.len() % 2) {
            (Some(value), 1) => *value,
            (Some(upper), _) => f64::midpoint(*upper, self.values.get(middle - 1).copied().unwrap_or(*upper)),
            (None, _) => f64::NAN,
        }
    }

    /// Median, lowest and highest; in units of `unit`.
    pub(crate) fn text(&self, unit: f64, decimals: usize) -> String {
        let (Some(first), Some(last)) = (self.values.first(), self.values.last()) else { return "-".to_owned() };
        let show = |value: f64| format!("{:.decimals$}", value / unit);
        format!("{} ({}-{})", show(self.median()), show(*first), show(*last))
    }
}
