//! Time zones by name.

use std::{fmt, str::FromStr};

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// A zone of the tz database that is built into the program. Cheap to clone.
#[derive(Clone)]
pub struct Zone {
    tz: TimeZone,
}

/// No zone has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone `{value}`: must be a name of the IANA time zone database, such as Europe/Berlin or UTC")]
pub struct UnknownZone {
    /// What was given, cut to 64 characters.
    pub value: String,
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
            _ => Err(UnknownZone { value: name.chars().take(64).collect() }),
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
            assert_eq!(Zone::new(given), Err(UnknownZone { value: given.into() }));
        }
        assert_eq!(Zone::new(&"x".repeat(1000)).unwrap_err().value.len(), 64);
    }
}
