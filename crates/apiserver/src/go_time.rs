//! Times as Go reads them: what it takes, and how it says what it does not (`time.Parse`).

use jiff::{Timestamp, civil, tz::Offset};

/// Reads a time in RFC 3339, with whatever fraction of a second it has (`metav1.Time`). An error is Go's text.
pub(crate) fn seconds(text: &str) -> Result<Timestamp, String> {
    parse(text, "2006-01-02T15:04:05Z07:00", false)
}

/// Reads a time in RFC 3339 with six digits of a second's fraction (`metav1.MicroTime`).
pub(crate) fn micros(text: &str) -> Result<Timestamp, String> {
    parse(text, "2006-01-02T15:04:05.000000Z07:00", true)
}

/// What went wrong with one piece of the layout.
enum Fault {
    /// It is not there.
    Bad,
    /// It is there, and too large.
    Range(&'static str),
}

struct Rest<'t> {
    text: &'t str,
}

impl<'t> Rest<'t> {
    fn literal(&mut self, c: char) -> Result<(), Fault> {
        self.text = self.text.strip_prefix(c).ok_or(Fault::Bad)?;
        Ok(())
    }

    /// Takes `n` bytes.
    fn take(&mut self, n: usize) -> Result<&'t str, Fault> {
        let (taken, rest) = self.text.split_at_checked(n).ok_or(Fault::Bad)?;
        self.text = rest;
        Ok(taken)
    }

    fn number(&mut self, digits: usize) -> Result<i16, Fault> {
        number(self.take(digits)?)
    }

    /// One digit where there are no two, if that is allowed.
    fn one_or_two(&mut self) -> Result<i16, Fault> {
        let two = self.text.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        self.number(if two { 2 } else { 1 })
    }

    /// A fraction of a second: its billionths.
    fn fraction(&mut self, digits: usize) -> Result<i32, Fault> {
        let taken = self.take(1 + digits)?;
        let digits = taken.strip_prefix(['.', ',']).filter(|d| d.bytes().all(|b| b.is_ascii_digit())).ok_or(Fault::Bad)?;
        let nine: String = digits.chars().chain(std::iter::repeat('0')).take(9).collect();
        nine.parse().map_err(|_| Fault::Bad)
    }

    /// `Z`, or a difference in hours and minutes: its seconds.
    fn zone(&mut self) -> Result<i32, Fault> {
        if self.literal('Z').is_ok() {
            return Ok(0);
        }
        let sign = match self.text.as_bytes() {
            [sign, _, _, b':', _, _, ..] => *sign,
            _ => return Err(Fault::Bad),
        };
        self.take(1)?;
        let hours = number(self.take(2)?)?;
        self.take(1)?;
        let minutes = number(self.take(2)?)?;
        if hours > 24 {
            return Err(Fault::Range("time zone offset hour"));
        }
        if minutes > 60 {
            return Err(Fault::Range("time zone offset minute"));
        }
        let seconds = (i32::from(hours) * 60 + i32::from(minutes)) * 60;
        match sign {
            b'+' => Ok(seconds),
            b'-' => Ok(-seconds),
            _ => Err(Fault::Bad),
        }
    }
}

fn number(digits: &str) -> Result<i16, Fault> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Fault::Bad);
    }
    digits.parse().map_err(|_| Fault::Bad)
}

fn parse(text: &str, layout: &str, micro: bool) -> Result<Timestamp, String> {
    let mut rest = Rest { text };
    // Pieces of the layout in its order; an error names the piece, and what stands where it should begin.
    macro_rules! piece {
        ($name:literal, $take:expr) => {{
            let held = rest.text;
            match $take {
                Ok(taken) => taken,
                Err(Fault::Bad) => return Err(format!("parsing time {text:?} as {layout:?}: cannot parse {held:?} as {:?}", $name)),
                Err(Fault::Range(what)) => return Err(format!("parsing time {text:?}: {what} out of range")),
            }
        }};
    }
    let below = |n: i16, most: i16, what: &'static str| if n < most { Ok(n) } else { Err(Fault::Range(what)) };
    let year = piece!("2006", rest.number(4));
    piece!("-", rest.literal('-'));
    let month = piece!("01", rest.number(2).and_then(|m| if m == 0 { Err(Fault::Range("month")) } else { below(m, 13, "month") }));
    piece!("-", rest.literal('-'));
    let day = piece!("02", rest.number(2));
    piece!("T", rest.literal('T'));
    let hour = piece!("15", rest.one_or_two().and_then(|h| below(h, 24, "hour")));
    piece!(":", rest.literal(':'));
    let minute = piece!("04", rest.number(2).and_then(|m| below(m, 60, "minute")));
    piece!(":", rest.literal(':'));
    let second = piece!("05", rest.number(2).and_then(|s| below(s, 60, "second")));
    let nanos = if micro {
        piece!(".000000", rest.fraction(6))
    } else {
        let digits = rest.text.strip_prefix(['.', ',']).map_or(0, |r| r.bytes().take_while(u8::is_ascii_digit).count());
        if digits > 0 { piece!("05", rest.fraction(digits)) } else { 0 }
    };
    let offset = piece!("Z07:00", rest.zone());
    if !rest.text.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {:?}", rest.text));
    }
    let part = |n: i16| i8::try_from(n).unwrap_or(i8::MAX);
    let date = civil::Date::new(year, part(month), part(day)).map_err(|_| format!("parsing time {text:?}: day out of range"))?;
    let time = civil::time(part(hour), part(minute), part(second), nanos);
    // Zones beyond what the calendar library knows are none that anybody lives in.
    let zone = Offset::from_seconds(offset).unwrap_or(Offset::UTC);
    zone.to_timestamp(date.to_datetime(time)).map_err(|_| format!("parsing time {text:?}: day out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of Go's `time.Parse`.
    #[test]
    fn times_are_refused_in_gos_words() {
        let layout = "\"2006-01-02T15:04:05Z07:00\"";
        for (text, want) in [
            ("2021-03-04T05:06:07Z_", "parsing time \"2021-03-04T05:06:07Z_\": extra text: \"_\"".to_owned()),
            ("", format!("parsing time \"\" as {layout}: cannot parse \"\" as \"2006\"")),
            ("Z70", format!("parsing time \"Z70\" as {layout}: cannot parse \"Z70\" as \"2006\"")),
            ("2021-13-04T05:06:07Z", "parsing time \"2021-13-04T05:06:07Z\": month out of range".to_owned()),
            ("2021-02-30T05:06:07Z", "parsing time \"2021-02-30T05:06:07Z\": day out of range".to_owned()),
            ("2021-02-03 05:06:07Z", format!("parsing time \"2021-02-03 05:06:07Z\" as {layout}: cannot parse \" 05:06:07Z\" as \"T\"")),
            ("2021-02-03T05:06:07", format!("parsing time \"2021-02-03T05:06:07\" as {layout}: cannot parse \"\" as \"Z07:00\"")),
            ("2021-02-03T25:06:07Z", "parsing time \"2021-02-03T25:06:07Z\": hour out of range".to_owned()),
        ] {
            assert_eq!(seconds(text).map_err(|e| e.to_string()), Err(want), "{text:?}");
        }
        assert!(micros("2021-02-03T05:06:07Z").unwrap_err().ends_with("cannot parse \"Z\" as \".000000\""));
    }

    #[test]
    fn times_are_read_with_their_zone_and_fraction() {
        assert_eq!(seconds("2021-02-03T05:06:07.25+01:30"), Ok("2021-02-03T03:36:07.25Z".parse().unwrap()));
        assert_eq!(micros("2021-02-03T05:06:07.000250Z"), Ok("2021-02-03T05:06:07.00025Z".parse().unwrap()));
    }
}
