//! Windows of time: the moments at which a schedule opens in a time zone, and for how long.
//!
//! A civil time that is skipped when clocks go forward stands for the first moment after the gap; one that comes twice
//! stands for the first of the two. So the moments come in the order of their civil times, and each opens once.
//!
//! The zones are those that are compiled in: the same on every machine, and there is no file to read.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use crate::schedule::Schedule;
use crate::stage::retire::later;

/// How many days a search for an opening looks at. The rarest schedule that opens at all is that of 29 February, which is
/// eight years away from the next where a century leaves the leap day out (1896 to 1904, 2096 to 2104).
const SEARCHED_DAYS: usize = 8 * 366;

/// How many windows that follow each other without a gap are looked at for the end of an open time: those of a day, if
/// each is as short as the API takes (15 minutes).
const CHAINED_WINDOWS: usize = 96;

/// A time in which tokens may be rotated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// When it opens.
    pub schedule: Schedule,
    /// How long it stays open, in real time: an hour that clocks skip is no part of it.
    pub length: Duration,
    /// Where the schedule is read.
    pub zone: Zone,
}

/// A time zone by its IANA name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// UTC.
    pub fn utc() -> Self {
        Self { name: "UTC".into(), zone: TimeZone::UTC }
    }

    /// The zone of this name; `None` if the compiled database has none.
    pub fn named(name: &str) -> Option<Self> {
        let zone = TimeZoneDatabase::bundled().get(name).ok()?;
        Some(Self { name: name.to_owned(), zone })
    }
}

/// Two zones that are equal have the same name.
impl Hash for Zone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// Until when at least one of the windows is open without a break, if one is open now; at most until the end of the day in
/// UTC, so that a schedule which is always open is not followed without end.
pub fn open_until(windows: &[Window], now: Timestamp) -> Option<Timestamp> {
    let mut until = closing(windows, now)?;
    let end_of_day = end_of_day(now);
    for _ in 0..CHAINED_WINDOWS {
        match closing(windows, until).filter(|_| until < end_of_day) {
            Some(later) => until = later,
            None => break,
        }
    }
    Some(until.min(end_of_day))
}

/// The latest end of the windows that are open at this time.
fn closing(windows: &[Window], time: Timestamp) -> Option<Timestamp> {
    let ends = windows.iter().filter_map(|window| window.last_opening(time).map(|opening| later(opening, window.length)));
    ends.filter(|end| *end > time).max()
}

fn end_of_day(time: Timestamp) -> Timestamp {
    let day = 24 * 60 * 60;
    let seconds = time.as_second();
    Timestamp::from_second(seconds - seconds.rem_euclid(day) + day).unwrap_or(Timestamp::MAX)
}

/// The first opening of any of the windows at this time or after it.
pub fn next_opening(windows: &[Window], time: Timestamp) -> Option<Timestamp> {
    windows.iter().filter_map(|window| window.next_opening(time)).min()
}

/// The last opening of any of the windows at this time or before it.
pub fn last_opening(windows: &[Window], time: Timestamp) -> Option<Timestamp> {
    windows.iter().filter_map(|window| window.last_opening(time)).max()
}

/// The opening at this time by the clock of its window, such as `2026-12-01 02:00 Europe/Berlin`; `None` if none opens then.
pub fn local_opening(windows: &[Window], opens_at: Timestamp) -> Option<String> {
    let window = windows.iter().find(|window| window.next_opening(opens_at) == Some(opens_at))?;
    let Zone { name, zone } = &window.zone;
    Some(format!("{} {name}", zone.to_datetime(opens_at).strftime("%Y-%m-%d %H:%M")))
}

impl Window {
    /// The first opening at this time or after it; `None` only near the end of time.
    pub fn next_opening(&self, time: Timestamp) -> Option<Timestamp> {
        // What the clocks have shown before this time opened before it. Not so the other way round: in an hour that comes
        // twice, what they will show may have opened already.
        let before = time.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(time);
        let shown = self.zone.zone.to_datetime(before);
        let dates = successive(shown.date(), |date| date.tomorrow().ok());
        let mut moments = dates.filter(|date| self.schedule.matches(*date)).flat_map(|date| {
            let times = self.schedule.times().map(move |(hour, minute)| date.at(hour, minute, 0, 0));
            times.filter(move |civil| *civil > shown).filter_map(|civil| self.moment(civil))
        });
        moments.find(|moment| *moment >= time)
    }

    /// The last opening at this time or before it; `None` only near the beginning of time.
    pub fn last_opening(&self, time: Timestamp) -> Option<Timestamp> {
        let mut shown = self.zone.zone.to_datetime(time);
        // In an hour that comes twice, a later civil time may have opened already.
        if matches!(self.zone.zone.to_ambiguous_timestamp(shown).offset(), AmbiguousOffset::Fold { .. }) {
            shown = shown.checked_add(SignedDuration::from_hours(24)).unwrap_or(DateTime::MAX);
        }
        let dates = successive(shown.date(), |date| date.yesterday().ok());
        let mut moments = dates.filter(|date| self.schedule.matches(*date)).flat_map(|date| {
            let times = self.schedule.times().rev().map(move |(hour, minute)| date.at(hour, minute, 0, 0));
            times.filter(move |civil| *civil <= shown).filter_map(|civil| self.moment(civil))
        });
        moments.find(|moment| *moment <= time)
    }

    /// The moment for which a civil time stands.
    fn moment(&self, civil: DateTime) -> Option<Timestamp> {
        let zone = &self.zone.zone;
        match zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                offset.to_timestamp(civil).ok()
            }
            AmbiguousOffset::Gap { after, .. } => {
                // With the later offset a skipped time lies before the change, by less than the gap.
                let before_the_change = after.to_timestamp(civil).ok()?;
                zone.following(before_the_change).next().map(|change| change.timestamp())
            }
        }
    }
}

fn successive(first: Date, next: impl Fn(&Date) -> Option<Date>) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(first), move |date| next(date)).take(SEARCHED_DAYS)
}

#[cfg(test)]
mod tests;
