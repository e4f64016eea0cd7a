//! Schedules in five cron fields: the grammar that the schema lets through, and which dates and minutes one matches.
//! Knows no time zone and no moment.
//!
//! The fields are read as a CronJob reads them: a star with a step above 1 restricts its field, `n/step` runs from `n` to the
//! end of the field, and if both day of month and weekday are restricted, a date that matches either of them matches. Beside
//! that, 7 is Sunday, and a range of weekdays may end on Sunday.

use std::fmt;

use jiff::civil::Date;

/// A schedule: sets of values as bits, one bit a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    rule: DayRule,
}

/// How day of month and weekday go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum DayRule {
    /// At most one of the two is restricted.
    BothMatch,
    /// Both are restricted.
    OneMatches,
}

/// Why a text is no schedule, or none that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ScheduleProblem {
    /// It does not follow the grammar.
    Malformed,
    /// A range ends before it begins.
    Backwards {
        /// The range as written.
        range: String,
    },
    /// No date of the calendar matches, such as 30 February.
    Never,
}

impl fmt::Display for ScheduleProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => formatter.write_str("it is not made of five cron fields"),
            Self::Backwards { range } => write!(formatter, "the range {range} ends before it begins"),
            Self::Never => formatter.write_str("no date matches it, so that it never opens"),
        }
    }
}

impl ScheduleProblem {
    /// What to write instead.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Malformed => "write minute, hour, day, month and weekday with one blank between, for example '0 2 * * SAT'",
            Self::Backwards { .. } => "write it as two ranges, for example 22-23,0-5",
            Self::Never => "write a day that one of its months has, for example '0 2 28 2 *'",
        }
    }
}

/// What one field takes.
struct Field {
    lowest: u32,
    /// The end of a star, and of `n/step`.
    highest: u32,
    /// The highest number that may be written; a weekday may be 7.
    highest_written: u32,
    most_digits: usize,
    highest_step: u32,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { lowest: 0, highest: 59, highest_written: 59, most_digits: 2, highest_step: 99, names: &[] };
const HOUR: Field = Field { highest: 23, highest_written: 23, ..MINUTE };
const DAY: Field = Field { lowest: 1, highest: 31, highest_written: 31, ..MINUTE };
const MONTH: Field = Field {
    lowest: 1,
    highest: 12,
    highest_written: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    ..MINUTE
};
const WEEKDAY: Field = Field {
    highest: 6,
    highest_written: SUNDAY_AGAIN,
    most_digits: 1,
    highest_step: 7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    ..MINUTE
};

/// The other number of Sunday.
const SUNDAY_AGAIN: u32 = 7;

/// The values of a field.
struct Values {
    bits: u64,
    /// Whether a bare star (or one with step 1) is among them.
    is_unrestricted: bool,
}

impl Schedule {
    /// Reads a schedule, and refuses one that no date of the calendar matches.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ScheduleProblem> {
        let fields: Vec<&str> = text.split(' ').collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else { return Err(ScheduleProblem::Malformed) };
        let (days, weekdays) = (read(&DAY, days)?, read(&WEEKDAY, weekdays)?);
        let schedule = Self {
            minutes: read(&MINUTE, minutes)?.bits,
            hours: read(&HOUR, hours)?.bits,
            days: days.bits,
            months: read(&MONTH, months)?.bits,
            weekdays: weekdays.bits,
            rule: if days.is_unrestricted || weekdays.is_unrestricted { DayRule::BothMatch } else { DayRule::OneMatches },
        };
        if schedule.is_possible() { Ok(schedule) } else { Err(ScheduleProblem::Never) }
    }

    /// Whether any date matches. A restricted weekday alone comes round in every month.
    fn is_possible(&self) -> bool {
        let has_day = |month: u32| (1..=longest(month)).any(|day| holds(self.days, day));
        self.rule == DayRule::OneMatches || (1..=12).any(|month| holds(self.months, month) && has_day(month))
    }

    /// Whether it opens on this date at all.
    pub fn matches(&self, date: Date) -> bool {
        let month = holds(self.months, u32::from(date.month().unsigned_abs()));
        let day = holds(self.days, u32::from(date.day().unsigned_abs()));
        let weekday = holds(self.weekdays, u32::from(date.weekday().to_sunday_zero_offset().unsigned_abs()));
        month
            && match self.rule {
                DayRule::BothMatch => day && weekday,
                DayRule::OneMatches => day || weekday,
            }
    }

    /// The hours and minutes at which it opens on a date that matches, in order.
    pub fn times(&self) -> impl DoubleEndedIterator<Item = (i8, i8)> {
        let hours = (0_i8..24).filter(|hour| holds(self.hours, u32::from(hour.unsigned_abs())));
        hours.flat_map(|hour| {
            let minutes = (0_i8..60).filter(|minute| holds(self.minutes, u32::from(minute.unsigned_abs())));
            minutes.map(move |minute| (hour, minute))
        })
    }
}

fn holds(bits: u64, value: u32) -> bool {
    bits & (1 << value) != 0
}

/// How many days the month has at most.
fn longest(month: u32) -> u32 {
    match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn read(field: &Field, text: &str) -> Result<Values, ScheduleProblem> {
    let mut values = Values { bits: 0, is_unrestricted: false };
    for item in text.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(read_step(field, step)?)),
            None => (item, None),
        };
        values.is_unrestricted |= range == "*" && step.unwrap_or(1) == 1;
        let (first, last) = read_range(field, range, step)?;
        let every = usize::try_from(step.unwrap_or(1)).map_err(|_| ScheduleProblem::Malformed)?;
        for value in (first..=last).step_by(every) {
            // Only a weekday goes beyond the end of its field.
            values.bits |= 1 << if value > field.highest { field.lowest } else { value };
        }
    }
    Ok(values)
}

fn read_step(field: &Field, text: &str) -> Result<u32, ScheduleProblem> {
    let step = if text.starts_with('0') { None } else { read_number(text, 2) };
    step.filter(|step| (1..=field.highest_step).contains(step)).ok_or(ScheduleProblem::Malformed)
}

fn read_range(field: &Field, text: &str, step: Option<u32>) -> Result<(u32, u32), ScheduleProblem> {
    if text == "*" {
        return Ok((field.lowest, field.highest));
    }
    let Some((first, last)) = text.split_once('-') else {
        let value = read_value(field, text)?;
        return Ok(match step {
            Some(_) if value > field.highest => (field.lowest, field.highest),
            Some(_) => (value, field.highest),
            None => (value, value),
        });
    };
    let (mut first, mut last) = (read_value(field, first)?, read_value(field, last)?);
    if field.highest_written > field.highest {
        if first == SUNDAY_AGAIN && last < first {
            first = field.lowest;
        }
        if last == field.lowest && first > last {
            last = SUNDAY_AGAIN;
        }
    }
    if first > last { Err(ScheduleProblem::Backwards { range: text.to_owned() }) } else { Ok((first, last)) }
}

fn read_value(field: &Field, text: &str) -> Result<u32, ScheduleProblem> {
    let name = field.names.iter().zip(field.lowest..).find(|(name, _)| name.eq_ignore_ascii_case(text));
    let value = name.map(|(_, value)| value).or_else(|| read_number(text, field.most_digits));
    value.filter(|value| (field.lowest..=field.highest_written).contains(value)).ok_or(ScheduleProblem::Malformed)
}

fn read_number(text: &str, most_digits: usize) -> Option<u32> {
    let is_number = !text.is_empty() && text.len() <= most_digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
