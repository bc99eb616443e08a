//! One item of a field's list.

use super::error::{CronField, CronProblem, InvalidCron};

/// An item as written, and the byte of the expression at which it starts.
pub(super) struct ItemText<'a> {
    pub(super) field: CronField,
    pub(super) text: &'a str,
    pub(super) position: usize,
}

/// What an item matches.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Bit n: value n; `extended`: cron daemons would refuse it.
    Values { bits: u64, extended: bool },
    /// This many days before the last of the month.
    FromEnd(u32),
    /// The weekday, Monday to Friday, nearest to this day of the month.
    NearestWeekday(u32),
    /// The last day from Monday to Friday of the month.
    LastWeekday,
    /// The last such day of the week in the month.
    Last(u32),
    /// The nth such day of the week in the month.
    Nth { day: u32, nth: usize },
}

const ONLY_MONTH_DAYS: &str = "`W` belongs to the day of month, as in 15W or LW";
const ONLY_WEEK_DAYS: &str = "`#` belongs to the day of week, as in FRI#2";
const ONLY_DAYS: &str = "`L` belongs to the day of month (L, L-3, LW), or behind a day of week (FRIL)";
const ONLY_DAY_FIELDS: &str = "`?` belongs to the day of month or the day of week; write `*`";

impl<'a> ItemText<'a> {
    pub(super) fn parse(&self) -> Result<Item, InvalidCron> {
        if self.text.contains('~') {
            return Err(self.fail(self.text, CronProblem::Random));
        }
        match self.field {
            CronField::DayOfMonth => {
                if let Some(item) = self.month_day()? {
                    return Ok(item);
                }
            }
            CronField::DayOfWeek => {
                if let Some(item) = self.week_day()? {
                    return Ok(item);
                }
            }
            _ => {}
        }
        self.values()
    }

    /// `L`, `L-3`, `LW`, `15W`.
    fn month_day(&self) -> Result<Option<Item>, InvalidCron> {
        let upper = self.text.to_ascii_uppercase();
        if upper == "L" {
            return Ok(Some(Item::FromEnd(0)));
        }
        if upper == "LW" {
            return Ok(Some(Item::LastWeekday));
        }
        if upper.starts_with("L-") {
            let days = &self.text[2..];
            return match number(days) {
                Some(days @ 0..=30) => Ok(Some(Item::FromEnd(days))),
                _ => Err(self.fail(days, CronProblem::FromEnd)),
            };
        }
        if upper.ends_with('W') {
            let day = self.value(&self.text[..self.text.len() - 1])?;
            return Ok(Some(Item::NearestWeekday(day)));
        }
        Ok(None)
    }

    /// `FRIL`, `FRI#2`.
    fn week_day(&self) -> Result<Option<Item>, InvalidCron> {
        if let Some((day, nth)) = self.text.split_once('#') {
            let day = self.value(day)? % 7;
            return match number(nth) {
                Some(n @ 1..=5) => Ok(Some(Item::Nth { day, nth: n as usize })),
                _ => Err(self.fail(nth, CronProblem::Nth)),
            };
        }
        match self.text.strip_suffix(['L', 'l']) {
            Some("") => Err(self.fail(self.text, CronProblem::Misplaced(ONLY_DAYS))),
            Some(day) => Ok(Some(Item::Last(self.value(day)? % 7))),
            None => Ok(None),
        }
    }

    /// `*`, `5`, `1-5`, each with or without a step.
    fn values(&self) -> Result<Item, InvalidCron> {
        let (range, step_text) = match self.text.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (self.text, None),
        };
        let step = match step_text {
            None => 1,
            Some(text) => self.step(text)?,
        };
        let (least, _) = self.field.limits();
        let greatest = least + self.field.span() - 1;
        match range {
            "*" => return Ok(self.range(least, greatest, step, false)),
            "?" if matches!(self.field, CronField::DayOfMonth | CronField::DayOfWeek) => {
                return Ok(self.range(least, greatest, step, true));
            }
            "?" => return Err(self.fail(range, CronProblem::Misplaced(ONLY_DAY_FIELDS))),
            _ => {}
        }
        let Some((from, to)) = range.split_once('-') else {
            let from = self.folded(self.value(range)?);
            return Ok(match step_text {
                None => Item::Values { bits: 1 << from, extended: false },
                Some(_) => self.range(from, greatest, step, true),
            });
        };
        let (from, to) = (self.value(from)?, self.value(to)?);
        if from <= to {
            return Ok(self.range(from, to, step, false));
        }
        if self.field == CronField::DayOfMonth {
            return Err(self.fail(range, CronProblem::Backwards));
        }
        // cronie, too, takes a range up to Sunday as one up to the end of the week.
        let extended = !(self.field == CronField::DayOfWeek && to == 0);
        Ok(self.range(self.folded(from), to, step, extended))
    }

    /// Every `step`th value from `from` to `to`, going round the end if `to` comes before.
    fn range(&self, from: u32, to: u32, step: u32, extended: bool) -> Item {
        let (least, _) = self.field.limits();
        let span = self.field.span();
        // Not by remainder: 0-7 are eight weekdays, from Sunday to Sunday.
        let length = if from <= to { to - from } else { to + span - from };
        let bits =
            (0..=length).step_by(step as usize).fold(0, |bits, i| bits | 1 << (least + (from - least + i) % span));
        Item::Values { bits, extended }
    }

    /// Sunday is 0.
    fn folded(&self, value: u32) -> u32 {
        if self.field == CronField::DayOfWeek { value % 7 } else { value }
    }

    fn step(&self, text: &'a str) -> Result<u32, InvalidCron> {
        let max = self.field.span();
        match number(text) {
            Some(step) if (1..=max).contains(&step) => Ok(step),
            _ => Err(self.fail(text, CronProblem::Step { max })),
        }
    }

    fn value(&self, text: &'a str) -> Result<u32, InvalidCron> {
        let (least, greatest) = self.field.limits();
        if let Some(value) = number(text) {
            let ok = (least..=greatest).contains(&value);
            return if ok { Ok(value) } else { Err(self.fail(text, CronProblem::OutOfRange(self.field))) };
        }
        let named = self.field.names().iter().zip(least..).find(|(name, _)| name.eq_ignore_ascii_case(text));
        match named {
            Some((_, value)) => Ok(value),
            None => Err(self.fail(text, self.not_a_value(text))),
        }
    }

    /// The characters that mean something elsewhere deserve to be told where.
    fn not_a_value(&self, text: &str) -> CronProblem {
        if self.field.names().iter().any(|name| name.eq_ignore_ascii_case(text.get(..3).unwrap_or_default())) {
            CronProblem::NotAValue(self.field)
        } else if text.contains('#') {
            CronProblem::Misplaced(ONLY_WEEK_DAYS)
        } else if text.contains(['W', 'w']) && self.field != CronField::DayOfMonth {
            CronProblem::Misplaced(ONLY_MONTH_DAYS)
        } else if text.contains(['L', 'l']) && self.field != CronField::DayOfWeek {
            CronProblem::Misplaced(ONLY_DAYS)
        } else if text.is_empty() {
            CronProblem::Incomplete
        } else {
            CronProblem::NotAValue(self.field)
        }
    }

    /// An error about `part`, which is a part of this item's text.
    fn fail(&self, part: &str, problem: CronProblem) -> InvalidCron {
        let offset = part.as_ptr().addr() - self.text.as_ptr().addr();
        // An empty part says too little: show the item.
        let value = if part.is_empty() { self.text } else { part };
        InvalidCron::part(self.field, value, self.position + if part.is_empty() { 0 } else { offset }, problem)
    }
}

/// Digits only: no sign, no blanks. Too long for a field is out of any range.
fn number(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u32::MAX))
}
