//! The kernel's word on the machine's clock: how wrong it may be, and which leap second it was told of.

use escapement_engine::cluster_time::KernelWord;

/// Asks the kernel. `None` where it cannot be asked: not Linux, or a sandbox that forbids it.
#[cfg(all(target_os = "linux", feature = "server"))]
pub(super) fn ask() -> Option<KernelWord> {
    use std::time::Duration;

    use escapement_engine::cluster_time::LeapFlag;
    use rtime_clock::adjtime::{Timex, adjtimex};

    // Values of <linux/timex.h>, which are for ever.
    const STA_UNSYNC: i32 = 0x0040;
    const STA_NANO: i32 = 0x2000;
    // With no mode set it only reads, which anyone may.
    let mut timex = Timex::default();
    let leap = match adjtimex(&mut timex).ok()? {
        1 => LeapFlag::Insert,
        2 => LeapFlag::Delete,
        3 => LeapFlag::Inserting,
        4 => LeapFlag::Done,
        // 0: nothing; 5: nobody keeps the clock right.
        _ => LeapFlag::None,
    };
    let timex = timex.0;
    let slewing = Duration::from_nanos(u64::try_from(timex.offset.saturating_abs()).unwrap_or(0));
    let slewing = if timex.status & STA_NANO == 0 { slewing * 1000 } else { slewing };
    let bound = Duration::from_micros(u64::try_from(timex.maxerror).unwrap_or(0));
    Some(KernelWord { error: bound + slewing, synchronised: timex.status & STA_UNSYNC == 0, leap })
}

/// Asks the kernel. `None` where it cannot be asked: not Linux, or a sandbox that forbids it.
#[cfg(not(all(target_os = "linux", feature = "server")))]
pub(super) const fn ask() -> Option<KernelWord> {
    None
}
