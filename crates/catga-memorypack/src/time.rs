//! The times of .NET, which count in ticks of 100 ns.

use crate::{Decode, Encode, Error, ErrorKind, Kind, Layout, Reader, Result, Shape, Sizer, Writer};
use std::time::{Duration, SystemTime};

/// Ticks of a second.
const SECOND: i64 = 10_000_000;
/// Ticks of a day.
pub(crate) const DAY: i64 = 86_400 * SECOND;
/// The first tick beyond the year 9999.
const END: u64 = 3_155_378_976_000_000_000;
/// The tick at which Unix time begins.
pub(crate) const EPOCH: u64 = 621_355_968_000_000_000;
/// The day number of 9999-12-31.
const LAST_DAY: i32 = 3_652_058;

/// What a [`DateTime`] is relative to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DateTimeKind {
    /// Nobody said.
    #[default]
    Unspecified = 0,
    /// UTC.
    Utc = 1,
    /// The time zone of the machine that made it.
    Local = 2,
    /// The same, in the hour that is repeated when summer time ends, the second time.
    LocalRepeated = 3,
}

/// A .NET `DateTime`: ticks since the beginning of the year 1, and what they are relative to.
///
/// ```
/// use catga_memorypack::{DateTime, DateTimeKind};
/// use std::time::{Duration, SystemTime};
///
/// let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_705_708_800); // 2024-01-20
/// let date = DateTime::try_from(time)?;
/// assert_eq!(date.kind(), DateTimeKind::Utc);
/// assert_eq!(date.ticks(), 638_413_056_000_000_000);
/// assert_eq!(SystemTime::try_from(date)?, time);
/// # Ok::<(), catga_memorypack::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime(u64);

impl DateTime {
    /// The time of `ticks` of 100 ns since the beginning of the year 1; `None` beyond the year 9999.
    pub const fn new(ticks: u64, kind: DateTimeKind) -> Option<Self> {
        if ticks < END { Some(Self(ticks | (kind as u64) << 62)) } else { None }
    }

    /// Its ticks of 100 ns since the beginning of the year 1.
    pub const fn ticks(self) -> u64 {
        self.0 << 2 >> 2
    }

    /// What it is relative to.
    pub const fn kind(self) -> DateTimeKind {
        match self.0 >> 62 {
            0 => DateTimeKind::Unspecified,
            1 => DateTimeKind::Utc,
            2 => DateTimeKind::Local,
            _ => DateTimeKind::LocalRepeated,
        }
    }
}

/// A .NET `DateTimeOffset`: a time in UTC and how many minutes local clocks are ahead of it.
///
/// .NET 10 stores the minutes in four bytes and older ones in two; the two that both have are read, four are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTimeOffset {
    ticks: u64,
    minutes: i16,
}

impl DateTimeOffset {
    /// The time of `utc_ticks` of 100 ns since the beginning of the year 1, up to the year 9999, where clocks are
    /// `minutes` ahead, at most 14 hours; `None` beyond.
    pub const fn new(utc_ticks: u64, minutes: i16) -> Option<Self> {
        if utc_ticks < END && minutes.unsigned_abs() <= 840 { Some(Self { ticks: utc_ticks, minutes }) } else { None }
    }

    /// Ticks of 100 ns since the beginning of the year 1, in UTC.
    pub const fn utc_ticks(self) -> u64 {
        self.ticks
    }

    /// How many minutes the local clock is ahead of UTC.
    pub const fn offset_minutes(self) -> i16 {
        self.minutes
    }
}

/// A .NET `TimeSpan`: ticks of 100 ns, negative ones too.
///
/// A [`Duration`] is written as one, to the tick below, and read where it is not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeSpan(i64);

impl TimeSpan {
    /// A span of so many ticks of 100 ns.
    pub const fn from_ticks(ticks: i64) -> Self {
        Self(ticks)
    }

    /// Its ticks of 100 ns.
    pub const fn ticks(self) -> i64 {
        self.0
    }
}

/// A .NET `DateOnly`: days since the beginning of the year 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateOnly(i32);

impl DateOnly {
    /// The day with this number; 0 is the first of the year 1. `None` beyond the year 9999.
    pub const fn from_day_number(number: i32) -> Option<Self> {
        if number >= 0 && number <= LAST_DAY { Some(Self(number)) } else { None }
    }

    /// Its number; 0 is the first of January of the year 1.
    pub const fn day_number(self) -> i32 {
        self.0
    }
}

/// A .NET `TimeOnly`: ticks of 100 ns since midnight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOnly(i64);

impl TimeOnly {
    /// The time so many ticks of 100 ns after midnight; `None` where that is another day.
    pub const fn from_ticks(ticks: i64) -> Option<Self> {
        if ticks >= 0 && ticks < DAY { Some(Self(ticks)) } else { None }
    }

    /// Its ticks of 100 ns since midnight.
    pub const fn ticks(self) -> i64 {
        self.0
    }
}

/// Raw types that are one number each.
macro_rules! one_number {
    ($($ty:ident $number:ident |$raw:ident| $read:expr;)*) => {
        $(
            impl Shape for $ty {
                const KIND: Kind = Kind::Raw(Layout::of(size_of::<$number>(), size_of::<$number>()));
            }

            impl Encode for $ty {
                #[inline]
                fn size(&self, _: &mut Sizer) -> usize {
                    size_of::<$number>()
                }

                #[inline]
                fn encode(&self, out: &mut Writer<'_>) {
                    out.put(self.0.to_le_bytes());
                }
            }

            impl Decode<'_> for $ty {
                #[inline]
                fn decode(reader: &mut Reader<'_>) -> Result<Self> {
                    let $raw = $number::from_le_bytes(*reader.take()?);
                    $read.ok_or_else(|| reader.error(ErrorKind::Value))
                }

                fn missing() -> Result<Self> {
                    Ok(Self::default())
                }
            }
        )*
    };
}
one_number! {
    DateTime u64 |raw| (raw << 2 >> 2 < END).then_some(Self(raw));
    TimeSpan i64 |raw| Some(Self(raw));
    DateOnly i32 |raw| Self::from_day_number(raw);
    TimeOnly i64 |raw| Self::from_ticks(raw);
}

impl Shape for DateTimeOffset {
    const KIND: Kind = Kind::Raw(Layout::of(16, 8));
}

impl Encode for DateTimeOffset {
    #[inline]
    fn size(&self, _: &mut Sizer) -> usize {
        16
    }

    #[inline]
    fn encode(&self, out: &mut Writer<'_>) {
        let minutes = i32::from(self.minutes) as u32;
        out.put((u128::from(self.ticks) << 64 | u128::from(minutes)).to_le_bytes());
    }
}

impl Decode<'_> for DateTimeOffset {
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let raw = u128::from_le_bytes(*reader.take()?);
        Self::new((raw >> 64) as u64, raw as i16).ok_or_else(|| reader.error(ErrorKind::Value))
    }

    fn missing() -> Result<Self> {
        Ok(Self::default())
    }
}

impl Shape for Duration {
    const KIND: Kind = TimeSpan::KIND;
    const CHECKED: bool = true;
}

impl Encode for Duration {
    fn size(&self, sizer: &mut Sizer) -> usize {
        if TimeSpan::try_from(*self).is_err() {
            sizer.fail(ErrorKind::Value);
        }
        8
    }

    fn encode(&self, out: &mut Writer<'_>) {
        out.put(TimeSpan::try_from(*self).unwrap_or_default().0.to_le_bytes());
    }
}

impl Decode<'_> for Duration {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Self::try_from(TimeSpan::decode(reader)?).map_err(|_| reader.error(ErrorKind::Value))
    }

    fn missing() -> Result<Self> {
        Ok(Self::ZERO)
    }
}

fn beyond() -> Error {
    Error::new(ErrorKind::Value, 0)
}

/// To the tick below. Spans beyond 29,227 years are an error.
impl TryFrom<Duration> for TimeSpan {
    type Error = Error;
    fn try_from(duration: Duration) -> Result<Self> {
        i64::try_from(duration.as_nanos() / 100).map(Self).map_err(|_| beyond())
    }
}

/// Negative spans are an error.
impl TryFrom<TimeSpan> for Duration {
    type Error = Error;
    fn try_from(span: TimeSpan) -> Result<Self> {
        let ticks = u64::try_from(span.0).map_err(|_| beyond())?;
        let second = SECOND.unsigned_abs();
        Ok(Self::new(ticks / second, (ticks % second) as u32 * 100))
    }
}

/// The ticks of a system time, to the tick below; `None` before the year 1 and beyond 9999.
fn ticks_of(time: SystemTime) -> Option<u64> {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => u64::try_from(after.as_nanos() / 100).ok()?.checked_add(EPOCH),
        Err(before) => EPOCH.checked_sub(u64::try_from(before.duration().as_nanos().div_ceil(100)).ok()?),
    }
}

fn time_of(ticks: u64) -> Result<SystemTime> {
    let span = |ticks| Duration::try_from(TimeSpan(i64::try_from(ticks).map_err(|_| beyond())?));
    let time = match ticks.checked_sub(EPOCH) {
        Some(after) => SystemTime::UNIX_EPOCH.checked_add(span(after)?),
        None => SystemTime::UNIX_EPOCH.checked_sub(span(EPOCH - ticks)?),
    };
    time.ok_or_else(beyond)
}

/// In UTC, to the tick below.
impl TryFrom<SystemTime> for DateTime {
    type Error = Error;
    fn try_from(time: SystemTime) -> Result<Self> {
        ticks_of(time).and_then(|ticks| Self::new(ticks, DateTimeKind::Utc)).ok_or_else(beyond)
    }
}

/// Only a time in UTC is one that another machine knows: others are an error.
impl TryFrom<DateTime> for SystemTime {
    type Error = Error;
    fn try_from(time: DateTime) -> Result<Self> {
        if time.kind() == DateTimeKind::Utc { time_of(time.ticks()) } else { Err(beyond()) }
    }
}

/// In UTC, to the tick below.
impl TryFrom<SystemTime> for DateTimeOffset {
    type Error = Error;
    fn try_from(time: SystemTime) -> Result<Self> {
        ticks_of(time).and_then(|ticks| Self::new(ticks, 0)).ok_or_else(beyond)
    }
}

impl TryFrom<DateTimeOffset> for SystemTime {
    type Error = Error;
    fn try_from(time: DateTimeOffset) -> Result<Self> {
        time_of(time.ticks)
    }
}
