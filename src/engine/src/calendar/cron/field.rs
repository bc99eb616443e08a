//! One field of an expression: a list of items.

use super::{
    days::{DaysOfMonth, DaysOfWeek},
    error::{CronField, CronProblem, InvalidCron},
    item::{Item, ItemText},
    low_32,
};

/// A field as written, and the byte of the expression at which it starts.
pub(super) struct FieldText<'a> {
    pub(super) field: CronField,
    pub(super) text: &'a str,
    pub(super) position: usize,
}

/// What the items of a field add up to.
#[derive(Default)]
pub(super) struct FieldSet {
    /// Bit n: value n. Sunday is bit 0.
    pub(super) values: u64,
    pub(super) extended: bool,
    month: DaysOfMonth,
    week: DaysOfWeek,
}

impl FieldText<'_> {
    pub(super) fn parse(&self) -> Result<FieldSet, InvalidCron> {
        let mut set = FieldSet::default();
        let mut position = self.position;
        for text in self.text.split(',') {
            if text.is_empty() {
                return Err(InvalidCron::part(self.field, self.text, self.position, CronProblem::Incomplete));
            }
            let item = ItemText { field: self.field, text, position }.parse()?;
            set.add(&item);
            position += text.len() + 1;
        }
        Ok(set)
    }
}

impl FieldSet {
    fn add(&mut self, item: &Item) {
        match *item {
            Item::Values { bits, extended } => {
                self.values |= bits;
                self.extended |= extended;
                return;
            }
            Item::FromEnd(days) => self.month.from_end |= 1 << days,
            Item::NearestWeekday(day) => self.month.nearest_weekday |= 1 << day,
            Item::LastWeekday => self.month.last_weekday = true,
            Item::Last(day) => self.week.last |= 1 << day,
            Item::Nth { day, nth } => self.week.nth[nth - 1] |= 1 << day,
        }
        self.extended = true;
    }

    pub(super) fn days_of_month(&self) -> DaysOfMonth {
        DaysOfMonth { days: low_32(self.values), ..self.month }
    }

    pub(super) fn days_of_week(&self) -> DaysOfWeek {
        DaysOfWeek { days: u8::try_from(self.values).expect("weekdays are bits 0 to 6"), ..self.week }
    }
}
