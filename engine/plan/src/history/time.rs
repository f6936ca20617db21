//! Moments as people and file names write them. Knows the calendar, no time zone but UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// Now, in seconds since 1970.
pub fn clock() -> u64 {
    now().as_secs()
}

/// Now, since 1970.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Year, month, day, hour, minute and second in UTC.
fn parts(seconds: u64) -> [u64; 6] {
    // Days are counted from 1 March of the year 0, so that the day that comes and goes is a year's last
    // (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
    let days = seconds / DAY + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let second = seconds % DAY;
    [year, month, day, second / 3600, second / 60 % 60, second % 60]
}

/// `2026-11-22 19:27:45`, in UTC.
pub fn utc(seconds: u64) -> String {
    let [year, month, day, hour, minute, second] = parts(seconds);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// `20261122T192745.000123Z`, for names of files: in the order of time as texts, also those of one second.
pub(super) fn compact(moment: Duration) -> String {
    let [year, month, day, hour, minute, second] = parts(moment.as_secs());
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{:06}Z", moment.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_agree_with_date() {
        // `date -u -d @N`
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_799, "2000-02-29 23:59:59"),
            (1_709_164_800, "2024-02-29 00:00:00"),
            (1_735_689_599, "2024-12-31 23:59:59"),
            (1_795_375_665, "2026-11-22 19:27:45"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(utc(seconds), text);
        }
        assert_eq!(compact(Duration::from_micros(1_795_375_665_000_123)), "20261122T192745.000123Z");
    }
}
