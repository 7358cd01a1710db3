//! Points in time as people write them.
//!
//! ```text
//! 12.345, 116119811379      as printed: seconds, or ticks of a clock without unit
//! +1.5s, +20ms, +3          after the first record; a bare number is seconds, or ticks
//! -1s                       before the last record
//! 10:31, 10:31:05.25        by the time of day, on the day of the first record or the one after
//! 2026-03-29T10:31:05       the same with its day; with Z or +02:00 after it for another place's time
//! ```

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::super::common::explain::Explained;
use crate::report::Opened;
use crate::report::reading::clock::Unit;
use crate::report::reading::moment::{Moment, first_wall, span};
use crate::windows::spec::time as duration;

const SECOND: u64 = 1_000_000_000;

/// The time that a text means in these files, as printed.
pub(super) fn resolve(text: &str, opened: Opened<'_>) -> Result<u64, Explained> {
    let raw = opened.lanes.iter().any(|lane| lane.unit == Unit::Raw);
    let here = TimeZone::system();
    let moment = match text.contains(':') {
        false => parse(text, raw).ok_or_else(|| unreadable(text))?,
        true => match wall(text, &here).ok_or_else(|| unreadable(text))? {
            Day::Named(time) => Moment::Wall(time),
            Day::First(time) => {
                let first = first_wall(opened).ok_or_else(|| timeless(opened))?;
                Moment::Wall(on_day_of(first, length(opened), time, &here).ok_or_else(|| unreadable(text))?)
            }
        },
    };
    match (moment.resolve(opened), moment) {
        (Some(time), _) => Ok(time),
        (None, Moment::Wall(_)) => Err(timeless(opened)),
        // Without records any time will do.
        (None, _) => Ok(0),
    }
}

fn length(opened: Opened<'_>) -> i64 {
    span(opened).and_then(|(first, last)| i64::try_from(last.saturating_sub(first)).ok()).unwrap_or(0)
}

fn unreadable(text: &str) -> Explained {
    Explained::new("a time could not be read").row("time", text).row(
        "try",
        "seconds as printed (12.345), +1.5s after the first record, -1s before the last, or 10:31:05 by the time of day",
    )
}

fn timeless(opened: Opened<'_>) -> Explained {
    let path = opened.inputs.first().map_or("", |input| input.path.as_str());
    Explained::new(format!("{path} does not tell the time of day"))
        .row("try", "seconds as printed, or +1.5s after the first record")
}

/// All but times of day.
fn parse(text: &str, raw: bool) -> Option<Moment> {
    let distance = |text: &str| match text.parse() {
        Ok(ticks) if raw => Some(ticks),
        _ => duration(text, Some(SECOND)).ok(),
    };
    match text.as_bytes().first()? {
        b'+' => distance(&text[1..]).map(Moment::AfterFirst),
        b'-' => distance(&text[1..]).map(Moment::BeforeLast),
        _ => printed(text.strip_suffix('s').unwrap_or(text), raw).map(Moment::Printed),
    }
}

/// Seconds with decimals as nanoseconds; a bare integer is ticks when the clock has no unit.
fn printed(text: &str, raw: bool) -> Option<u64> {
    if raw && !text.contains('.') {
        return text.parse().ok();
    }
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if decimals.len() > 9 || !digits(decimals) || !digits(seconds) || seconds.len() + decimals.len() == 0 {
        return None;
    }
    let nanoseconds: u64 = format!("{decimals:0<9}").parse().ok()?;
    let seconds: u64 = if seconds.is_empty() { 0 } else { seconds.parse().ok()? };
    seconds.checked_mul(SECOND)?.checked_add(nanoseconds)
}

/// A time of day, with its day or without.
#[derive(Debug, PartialEq)]
enum Day {
    /// Nanoseconds since 1970.
    Named(i64),
    /// The day of the first record.
    First(Time),
}

fn wall(text: &str, here: &TimeZone) -> Option<Day> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return i64::try_from(time.as_nanosecond()).ok().map(Day::Named);
    }
    if let Some((date, time)) = text.split_once([' ', 'T']) {
        let at = date.parse::<Date>().ok()?.to_datetime(time_of_day(time)?);
        return since_1970(at, here).map(Day::Named);
    }
    time_of_day(text).map(Day::First)
}

/// `10:31`, `10:31:05` or `10:31:05.25`, and nothing that merely begins so.
fn time_of_day(text: &str) -> Option<Time> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':' || byte == b'.');
    if plain { text.parse().ok() } else { None }
}

fn since_1970(at: DateTime, here: &TimeZone) -> Option<i64> {
    let nanoseconds = here.to_zoned(at).ok()?.timestamp().as_nanosecond();
    i64::try_from(nanoseconds).ok()
}

/// That time on the day when a recording of this length began, or, if it lasts until then, on the one after.
fn on_day_of(first: i64, length: i64, time: Time, here: &TimeZone) -> Option<i64> {
    let began = Timestamp::from_nanosecond(first.into()).ok()?.to_zoned(here.clone());
    let at = began.date().to_datetime(time);
    let same = since_1970(at, here)?;
    if same >= first {
        return Some(same);
    }
    let next = since_1970(at.checked_add(Span::new().days(1)).ok()?, here)?;
    Some(if next <= first.saturating_add(length) { next } else { same })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_printed_or_relative_to_an_end() {
        assert_eq!(parse("12.345", false), Some(Moment::Printed(12_345_000_000)));
        assert_eq!(parse("12.345s", false), Some(Moment::Printed(12_345_000_000)));
        assert_eq!(parse(".000000001", false), Some(Moment::Printed(1)));
        assert_eq!(parse("3", false), Some(Moment::Printed(3_000_000_000)));
        assert_eq!(parse("116119811379", true), Some(Moment::Printed(116_119_811_379)));
        assert_eq!(parse("+1.5s", false), Some(Moment::AfterFirst(1_500_000_000)));
        assert_eq!(parse("+2", false), Some(Moment::AfterFirst(2_000_000_000)));
        assert_eq!(parse("+2", true), Some(Moment::AfterFirst(2)));
        assert_eq!(parse("-20ms", false), Some(Moment::BeforeLast(20_000_000)));
        for bad in ["1.2.3", "", "+", "-", "+-1", "--1", "1x", "+1x", ".", "s", "1e3"] {
            assert_eq!(parse(bad, false), None, "{bad}");
        }
    }

    #[test]
    fn times_of_day_have_their_day_or_that_of_the_recording() {
        let here = TimeZone::UTC;
        let day = |text| wall(text, &here);
        assert_eq!(day("1970-01-02 00:00:01.5"), Some(Day::Named(86_401_500_000_000)));
        assert_eq!(day("1970-01-02T00:00"), Some(Day::Named(86_400_000_000_000)));
        assert_eq!(day("1970-01-02T02:00:00+02:00"), Some(Day::Named(86_400_000_000_000)));
        for bad in ["25:00", "10:61", "1970-13-01 00:00", "10:00x", "x 10:00", ":"] {
            assert_eq!(day(bad), None, "{bad}");
        }
        let Some(Day::First(time)) = day("00:10") else { panic!() };
        let (minute, evening) = (60_000_000_000, 86_400_000_000_000 - 600_000_000_000);
        assert_eq!(on_day_of(0, minute, time, &here), Some(10 * minute));
        // From ten minutes before midnight on, for an hour, and for a minute.
        assert_eq!(on_day_of(evening, 60 * minute, time, &here), Some(evening + 20 * minute));
        assert_eq!(on_day_of(evening, minute, time, &here), Some(10 * minute));
    }
}
