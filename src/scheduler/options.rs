//! Settings of a scheduler, with the relations between them.

use std::{borrow::Cow, time::Duration};

use escapement_engine::{
    leap::{LeapTable, Mode},
    limits,
};

/// Settings of a scheduler.
#[derive(Clone, Debug)]
pub struct SchedulerOptions {
    /// Shards of a cluster that is made anew: 1 to 4096. An existing cluster keeps its own.
    pub shards: u32,
    /// Somebody asked for this number: an existing cluster that has another is refused.
    pub shards_required: bool,
    /// Length of a worker session's lease: 500 ms to 10 min. A silent session loses its
    /// tasks after this long.
    pub session_lease: Duration,
    /// Length of the scheduler's own lease: 300 ms to 1 min. It renews three times in it.
    pub member_lease: Duration,
    /// Bytes of a payload or result: 1 to 8 MiB.
    pub payload_bytes_max: usize,
    /// How far ahead of its instant a task is held in memory: 1 s to 1 h.
    pub hot_window: Duration,
    /// Entries of the due index held in memory, all together: 10,000 to 100,000,000.
    pub entries_max: u32,
    /// Entries of one shard, queue and priority held in memory: 1000 to 10,000,000.
    pub stream_entries_max: u32,
    /// Rows of one page of the due index: 1 to 1000.
    pub due_page_rows: u32,
    /// Rows of one page of any other scan (leases, ticks, idempotency keys): 1 to 1000.
    pub scan_page_rows: usize,
    /// Tasks in one firing transaction: 1 to 1000.
    pub fire_batch_max: usize,
    /// Firing transactions in flight: 1 to 64.
    pub fires_in_flight_max: usize,
    /// How long beyond its timeout an attempt is left to its worker, which ends it itself.
    pub timeout_grace: Duration,
    /// How often everything is read again, to mend what a lost hint left out: 5 s to 1 h.
    pub rescan_interval: Duration,
    /// What is done about a leap second.
    pub leap_mode: Mode,
    /// The leap seconds that are known.
    pub leap_table: Cow<'static, LeapTable>,
    /// Where this process can be reached, for people.
    pub address: String,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self {
            shards: 32,
            shards_required: false,
            session_lease: Duration::from_secs(5),
            member_lease: Duration::from_secs(3),
            payload_bytes_max: limits::PAYLOAD_BYTES_MAX,
            hot_window: Duration::from_secs(300),
            entries_max: 4_000_000,
            stream_entries_max: 65_536,
            due_page_rows: 1000,
            scan_page_rows: 1000,
            fire_batch_max: 256,
            fires_in_flight_max: 8,
            timeout_grace: Duration::from_secs(10),
            rescan_interval: Duration::from_secs(60),
            leap_mode: Mode::Pause,
            leap_table: Cow::Borrowed(LeapTable::embedded()),
            address: String::new(),
        }
    }
}

/// A setting is out of its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, but must be {limit}")]
pub struct InvalidOption {
    /// Its name in the configuration.
    pub field: &'static str,
    /// What was given.
    pub value: String,
    /// What is allowed.
    pub limit: &'static str,
}

impl SchedulerOptions {
    /// # Errors
    /// Names the first setting that is out of bounds.
    pub fn validate(&self) -> Result<(), InvalidOption> {
        let millis = Duration::from_millis;
        let spans = [
            ("session_lease", self.session_lease, millis(500)..=millis(600_000), "500 ms to 10 min"),
            ("member_lease", self.member_lease, millis(300)..=millis(60_000), "300 ms to 1 min"),
            ("hot_window", self.hot_window, millis(1000)..=millis(3_600_000), "1 s to 1 h"),
            ("timeout_grace", self.timeout_grace, millis(0)..=millis(600_000), "0 to 10 min"),
            ("rescan_interval", self.rescan_interval, millis(5000)..=millis(3_600_000), "5 s to 1 h"),
        ];
        for (field, value, allowed, limit) in spans {
            if !allowed.contains(&value) {
                return Err(InvalidOption { field, value: format!("{value:?}"), limit });
            }
        }
        let counts = [
            ("shards", self.shards as usize, 1..=4096, "1 to 4096"),
            ("payload_bytes_max", self.payload_bytes_max, 1..=limits::PAYLOAD_BYTES_CEILING, "1 to 8388608"),
            ("entries_max", self.entries_max as usize, 10_000..=100_000_000, "10000 to 100000000"),
            ("stream_entries_max", self.stream_entries_max as usize, 1000..=10_000_000, "1000 to 10000000"),
            ("due_page_rows", self.due_page_rows as usize, 1..=1000, "1 to 1000"),
            ("scan_page_rows", self.scan_page_rows, 1..=1000, "1 to 1000"),
            ("fire_batch_max", self.fire_batch_max, 1..=1000, "1 to 1000"),
            ("fires_in_flight_max", self.fires_in_flight_max, 1..=64, "1 to 64"),
        ];
        for (field, value, allowed, limit) in counts {
            if !allowed.contains(&value) {
                return Err(InvalidOption { field, value: value.to_string(), limit });
            }
        }
        Ok(())
    }

    /// How often a worker renews: four times in its lease.
    pub fn renew_interval(&self) -> Duration {
        self.session_lease / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_bounds_settings_are_named() {
        assert_eq!(SchedulerOptions::default().validate(), Ok(()));
        let check = |change: fn(&mut SchedulerOptions), field| {
            let mut options = SchedulerOptions::default();
            change(&mut options);
            assert_eq!(options.validate().map_err(|error| error.field), Err(field));
        };
        check(|o| o.shards = 0, "shards");
        check(|o| o.session_lease = Duration::from_millis(499), "session_lease");
        check(|o| o.payload_bytes_max = (8 << 20) + 1, "payload_bytes_max");
        check(|o| o.fire_batch_max = 1001, "fire_batch_max");
        check(|o| o.due_page_rows = 0, "due_page_rows");
        check(|o| o.scan_page_rows = 1001, "scan_page_rows");
    }
}
