//! Time zones by name.

use std::{fmt, str::FromStr};

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::suggest::closest;

/// A zone of the tz database that is built into the program. Cheap to clone.
#[derive(Clone)]
pub struct Zone {
    tz: TimeZone,
}

/// No zone has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownZone {
    /// What was given, cut to 64 characters.
    pub value: String,
    /// The name that is the fewest edits away, if one is close enough to be meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for UnknownZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown time zone `{}`: {}", self.value, self.limit())
    }
}

impl std::error::Error for UnknownZone {}

impl UnknownZone {
    fn of(name: &str) -> Self {
        let value: String = name.chars().take(64).collect();
        let known = TimeZoneDatabase::bundled();
        let suggestion = closest(&value, known.available().map(|zone| zone.as_str().to_owned()));
        Self { value, suggestion }
    }

    /// What a name must be: a sentence without its subject.
    pub fn limit(&self) -> String {
        const RULE: &str = "must be a name of the IANA time zone database, such as Europe/Berlin or UTC";
        match &self.suggestion {
            Some(zone) => format!("{RULE}; did you mean `{zone}`?"),
            None => RULE.to_owned(),
        }
    }
}

impl Zone {
    /// Coordinated Universal Time.
    pub fn utc() -> Self {
        Self { tz: TimeZone::UTC }
    }

    /// The zone of this IANA name, upper and lower case alike. Zones of the host are not consulted.
    ///
    /// # Errors
    /// When the bundled database has no such zone; for `Etc/Unknown`, too.
    pub fn new(name: &str) -> Result<Self, UnknownZone> {
        match TimeZoneDatabase::bundled().get(name) {
            Ok(tz) if tz.iana_name().is_some() => Ok(Self { tz }),
            _ => Err(UnknownZone::of(name)),
        }
    }

    /// The name as the database spells it.
    pub fn name(&self) -> &str {
        self.tz.iana_name().expect("only zones with a name are made")
    }

    pub(crate) fn tz(&self) -> &TimeZone {
        &self.tz
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::utc()
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        Self::new(name)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_found_by_name_and_spelled_as_the_database_does() {
        let check = |given: &str, name: &str| assert_eq!(Zone::new(given).unwrap().name(), name);
        check("Europe/Berlin", "Europe/Berlin");
        check("europe/berlin", "Europe/Berlin");
        check("utc", "UTC");
        check("Asia/Calcutta", "Asia/Calcutta");
        assert_eq!(Zone::default(), Zone::new("UTC").unwrap());
    }

    #[test]
    fn unknown_zones_are_refused_by_name() {
        for given in ["", "Europe/Berln", "Etc/Unknown", ":Europe/Berlin", "CET-1CEST", "localtime", "../etc/passwd"] {
            assert_eq!(Zone::new(given).unwrap_err().value, given);
        }
        assert_eq!(Zone::new(&"x".repeat(1000)).unwrap_err().value.len(), 64);
    }

    #[test]
    fn a_zone_that_was_meant_is_suggested() {
        let check = |given: &str, expect: Option<&str>| {
            assert_eq!(Zone::new(given).unwrap_err().suggestion.as_deref(), expect, "{given}");
        };
        check("Europe/Berln", Some("Europe/Berlin"));
        check("europe/berln", Some("Europe/Berlin"));
        check("America/New York", Some("America/New_York"));
        check("Mars/Olympus", None);
        check("", None);
        assert!(Zone::new("Europe/Berln").unwrap_err().to_string().ends_with("; did you mean `Europe/Berlin`?"));
    }
}
