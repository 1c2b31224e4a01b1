//! The times of .NET and those of jiff.

use crate::{
    DateOnly, DateTime, DateTimeKind, DateTimeOffset, Error, ErrorKind, Result, TimeOnly, TimeSpan,
    time::{DAY, EPOCH},
};
use jiff::{
    SignedDuration, Span, Timestamp, Zoned, civil,
    tz::{Offset, TimeZone},
};

fn beyond<E>(_: E) -> Error {
    Error::new(ErrorKind::Value, 0)
}

/// Ticks since the year 1 of a time, to the tick below.
fn ticks_of(time: Timestamp) -> Result<u64> {
    let ticks = time.as_nanosecond().div_euclid(100) + i128::from(EPOCH);
    u64::try_from(ticks).map_err(beyond)
}

fn time_of(ticks: u64) -> Result<Timestamp> {
    Timestamp::from_nanosecond((i128::from(ticks) - i128::from(EPOCH)) * 100).map_err(beyond)
}

/// In UTC, to the tick below; times before the year 1 are an error.
impl TryFrom<Timestamp> for DateTime {
    type Error = Error;
    fn try_from(time: Timestamp) -> Result<Self> {
        Self::new(ticks_of(time)?, DateTimeKind::Utc).ok_or_else(|| beyond(()))
    }
}

/// Only a time in UTC is one that another machine knows: others are an error.
impl TryFrom<DateTime> for Timestamp {
    type Error = Error;
    fn try_from(time: DateTime) -> Result<Self> {
        if time.kind() == DateTimeKind::Utc { time_of(time.ticks()) } else { Err(beyond(())) }
    }
}

/// The first moment of .NET's calendar.
const START: civil::DateTime = civil::date(1, 1, 1).at(0, 0, 0, 0);

/// What clocks show, of no known place, to the tick below; years before 1 are an error.
impl TryFrom<civil::DateTime> for DateTime {
    type Error = Error;
    fn try_from(time: civil::DateTime) -> Result<Self> {
        let ticks = u64::try_from(time.duration_since(START).as_nanos().div_euclid(100)).map_err(beyond)?;
        Self::new(ticks, DateTimeKind::Unspecified).ok_or_else(|| beyond(()))
    }
}

/// What clocks show, whatever they are relative to.
impl TryFrom<DateTime> for civil::DateTime {
    type Error = Error;
    fn try_from(time: DateTime) -> Result<Self> {
        let ticks = i64::try_from(time.ticks()).map_err(beyond)?;
        let day = i32::try_from(ticks / DAY).ok().and_then(DateOnly::from_day_number);
        let date = civil::Date::try_from(day.unwrap_or_default())?;
        let time = TimeOnly::from_ticks(ticks % DAY).unwrap_or_default();
        Ok(date.to_datetime(time.try_into()?))
    }
}

/// With its offset in whole minutes, which is all that .NET has; the time zone is lost.
impl TryFrom<&Zoned> for DateTimeOffset {
    type Error = Error;
    fn try_from(time: &Zoned) -> Result<Self> {
        let minutes = i16::try_from(time.offset().seconds() / 60).map_err(beyond)?;
        Self::new(ticks_of(time.timestamp())?, minutes).ok_or_else(|| beyond(()))
    }
}

/// In a time zone that is its offset.
impl TryFrom<DateTimeOffset> for Zoned {
    type Error = Error;
    fn try_from(time: DateTimeOffset) -> Result<Self> {
        let offset = Offset::from_seconds(i32::from(time.offset_minutes()) * 60).map_err(beyond)?;
        Ok(time_of(time.utc_ticks())?.to_zoned(TimeZone::fixed(offset)))
    }
}

/// To the tick towards zero.
impl TryFrom<SignedDuration> for TimeSpan {
    type Error = Error;
    fn try_from(span: SignedDuration) -> Result<Self> {
        i64::try_from(span.as_nanos() / 100).map(Self::from_ticks).map_err(beyond)
    }
}

impl From<TimeSpan> for SignedDuration {
    fn from(span: TimeSpan) -> Self {
        let second = 10_000_000;
        // The remainder is below 1,000,000,000 ns, which fits.
        Self::new(span.ticks() / second, (span.ticks() % second) as i32 * 100)
    }
}

/// Years before 1 are an error.
impl TryFrom<civil::Date> for DateOnly {
    type Error = Error;
    fn try_from(date: civil::Date) -> Result<Self> {
        let time = DateTime::try_from(date.at(0, 0, 0, 0))?;
        let days = time.ticks() / DAY.unsigned_abs();
        i32::try_from(days).ok().and_then(Self::from_day_number).ok_or_else(|| beyond(()))
    }
}

impl TryFrom<DateOnly> for civil::Date {
    type Error = Error;
    fn try_from(date: DateOnly) -> Result<Self> {
        START.date().checked_add(Span::new().days(date.day_number())).map_err(beyond)
    }
}

/// To the tick below.
impl From<civil::Time> for TimeOnly {
    fn from(time: civil::Time) -> Self {
        let nanoseconds = time.duration_since(civil::Time::midnight()).as_nanos();
        i64::try_from(nanoseconds / 100).ok().and_then(Self::from_ticks).unwrap_or_default()
    }
}

impl TryFrom<TimeOnly> for civil::Time {
    type Error = Error;
    fn try_from(time: TimeOnly) -> Result<Self> {
        civil::Time::midnight().checked_add(SignedDuration::from_nanos(time.ticks() * 100)).map_err(beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn times_go_there_and_back() {
        let time: Timestamp = "2024-01-20T12:34:56.7891234Z".parse().unwrap();
        let date = DateTime::try_from(time).unwrap();
        assert_eq!((date.ticks(), date.kind()), (638_413_508_967_891_234, DateTimeKind::Utc));
        assert_eq!(Timestamp::try_from(date).unwrap(), time);
        assert_eq!(SystemTime::try_from(date).unwrap(), SystemTime::UNIX_EPOCH + time.as_duration().unsigned_abs());

        let clock: civil::DateTime = "0001-01-01T00:00:00".parse().unwrap();
        assert_eq!(DateTime::try_from(clock).unwrap(), DateTime::default());
        assert_eq!(civil::DateTime::try_from(DateTime::default()).unwrap(), clock);
        assert!(Timestamp::try_from(DateTime::default()).is_err(), "nobody knows where that was");

        let zoned: Zoned = "2012-11-03T04:12:08+09:00[+09:00]".parse().unwrap();
        let offset = DateTimeOffset::try_from(&zoned).unwrap();
        assert_eq!((offset.utc_ticks(), offset.offset_minutes()), (0x08CF_8745_1659_B400, 540));
        assert_eq!(Zoned::try_from(offset).unwrap(), zoned);
    }

    #[test]
    fn spans_days_and_times_of_day_go_there_and_back() {
        for ticks in [0, 1, -1, 123_456_789_012, -123_456_789_012, i64::MAX, i64::MIN] {
            let span = TimeSpan::from_ticks(ticks);
            assert_eq!(TimeSpan::try_from(SignedDuration::from(span)).unwrap(), span);
        }
        for (day, number) in [("0001-01-01", 0), ("1970-01-01", 719_162), ("9999-12-31", 3_652_058)] {
            let date: civil::Date = day.parse().unwrap();
            let number = DateOnly::from_day_number(number).unwrap();
            assert_eq!((DateOnly::try_from(date).unwrap(), civil::Date::try_from(number).unwrap()), (number, date));
        }
        for (time, ticks) in [("00:00", 0), ("23:59:59.9999999", 863_999_999_999)] {
            let time: civil::Time = time.parse().unwrap();
            let ticks = TimeOnly::from_ticks(ticks).unwrap();
            assert_eq!((TimeOnly::from(time), civil::Time::try_from(ticks).unwrap()), (ticks, time));
        }
    }
}
