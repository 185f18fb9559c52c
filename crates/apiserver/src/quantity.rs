//! Amounts such as `500m` and `1Gi`: parse, canonical form, arithmetic (apimachinery `resource.Quantity`).

use std::cmp::Ordering;
use std::fmt;

/// How an amount is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `k`, `M`, `m`.
    DecimalSi,
    /// `Ki`, `Mi`.
    BinarySi,
    /// `1e3`.
    DecimalExponent,
}

/// An amount, exact to a billionth.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Texts that are no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadQuantity {
    /// It does not look like one.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// What follows the number looks like a unit, but is none.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANO: i128 = 1_000_000_000;
/// Amounts beyond this are held at it, as upstream caps at the largest 64-bit number.
const CAP: i128 = i64::MAX as i128 * NANO;

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    /// A whole amount.
    pub fn from_int(n: i64) -> Self {
        Quantity { nanos: i128::from(n) * NANO, format: Format::DecimalSi }
    }

    /// Reads a text; fractions below a billionth round up.
    pub fn parse(text: &str) -> Result<Self, BadQuantity> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
            None => return Err(BadQuantity::Format),
        };
        let digits = |s: &str| s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
        let (whole, more) = rest.split_at(digits(rest));
        let (fraction, suffix) = more.strip_prefix('.').map_or(("", more), |more| more.split_at(digits(more)));
        // Letters of units, then an exponent: what else follows makes it no amount at all.
        let exponent = suffix.trim_start_matches(['e', 'E', 'i', 'n', 'u', 'm', 'k', 'K', 'M', 'G', 'T', 'P']);
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if digits(exponent) != exponent.len() {
            return Err(BadQuantity::Format);
        }
        // No digits at all are zero, as upstream has it.
        let (scale, format) = suffix_of(suffix)?;
        let mut nanos = decimal(whole, fraction, scale);
        nanos = nanos.min(CAP);
        Ok(Quantity { nanos: if negative { -nanos } else { nanos }, format })
    }

    /// The amount in billionths.
    pub fn nanos(self) -> i128 {
        self.nanos
    }

    /// Rounded up to thousandths, as amounts in resource lists are.
    pub fn round_up_milli(self) -> Self {
        let unit = NANO / 1000;
        let up = self.nanos.div_euclid(unit) + i128::from(self.nanos.rem_euclid(unit) != 0);
        Quantity { nanos: up * unit, ..self }
    }

    /// Whether it is a whole number.
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }

    /// The whole number that is not below it.
    pub fn whole_up(self) -> i128 {
        self.nanos.div_euclid(NANO) + i128::from(self.nanos.rem_euclid(NANO) != 0)
    }

    /// The sum; written as the left side is, unless that is zero.
    pub fn plus(self, other: Quantity) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Quantity { nanos: self.nanos + other.nanos, format }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

enum Scale {
    Ten(i32),
    Two(u32),
}

fn suffix_of(suffix: &str) -> Result<(Scale, Format), BadQuantity> {
    Ok(match suffix {
        "" => (Scale::Ten(0), Format::DecimalSi),
        "n" => (Scale::Ten(-9), Format::DecimalSi),
        "u" => (Scale::Ten(-6), Format::DecimalSi),
        "m" => (Scale::Ten(-3), Format::DecimalSi),
        "k" => (Scale::Ten(3), Format::DecimalSi),
        "M" => (Scale::Ten(6), Format::DecimalSi),
        "G" => (Scale::Ten(9), Format::DecimalSi),
        "T" => (Scale::Ten(12), Format::DecimalSi),
        "P" => (Scale::Ten(15), Format::DecimalSi),
        "E" => (Scale::Ten(18), Format::DecimalSi),
        "Ki" => (Scale::Two(10), Format::BinarySi),
        "Mi" => (Scale::Two(20), Format::BinarySi),
        "Gi" => (Scale::Two(30), Format::BinarySi),
        "Ti" => (Scale::Two(40), Format::BinarySi),
        "Pi" => (Scale::Two(50), Format::BinarySi),
        "Ei" => (Scale::Two(60), Format::BinarySi),
        other => match other.strip_prefix(['e', 'E']).and_then(|n| n.parse::<i32>().ok()) {
            Some(n) => (Scale::Ten(n), Format::DecimalExponent),
            None => return Err(BadQuantity::Suffix),
        },
    })
}

/// `whole.fraction × scale` in billionths, rounded up, held at the cap.
fn decimal(whole: &str, fraction: &str, scale: Scale) -> i128 {
    let (mut digits, mut rest) = (0i128, false);
    let mut exponent = 9i32;
    let mut many = false;
    // 26 digits hold every amount below the cap with nine decimals.
    for c in whole.bytes() {
        if digits > CAP {
            many = true;
            break;
        }
        digits = digits * 10 + i128::from(c - b'0');
    }
    for c in fraction.bytes().take(18) {
        digits = digits.saturating_mul(10).saturating_add(i128::from(c - b'0'));
        exponent -= 1;
    }
    rest |= fraction.bytes().skip(18).any(|c| c != b'0');
    if many {
        return CAP;
    }
    match scale {
        Scale::Ten(n) => exponent = exponent.saturating_add(n),
        Scale::Two(bits) => digits = digits.checked_mul(1i128 << bits).unwrap_or(CAP),
    }
    if digits == 0 {
        return i128::from(rest);
    }
    let mut out = digits;
    if exponent >= 0 {
        for _ in 0..exponent {
            out = out.saturating_mul(10);
            if out >= CAP {
                return CAP;
            }
        }
        return out + i128::from(rest);
    }
    for _ in 0..exponent.unsigned_abs().min(60) {
        rest |= out % 10 != 0;
        out /= 10;
    }
    out + i128::from(rest)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let sign = if self.nanos < 0 { "-" } else { "" };
        let abs = self.nanos.abs();
        if self.format == Format::BinarySi && abs >= 1024 * NANO {
            let mut n = abs / NANO + i128::from(abs % NANO != 0);
            let mut step = 0;
            while n % 1024 == 0 && step < 6 {
                n /= 1024;
                step += 1;
            }
            return write!(f, "{sign}{n}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step]);
        }
        let (mut n, mut exponent) = (abs, -9i32);
        while n % 1000 == 0 && exponent < 18 {
            n /= 1000;
            exponent += 3;
        }
        if self.format == Format::DecimalExponent {
            return if exponent == 0 { write!(f, "{sign}{n}") } else { write!(f, "{sign}{n}e{exponent}") };
        }
        let names = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        write!(f, "{sign}{n}{}", names[((exponent + 9) / 3) as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_get_their_canonical_form() {
        for (text, want) in [
            ("0.5", "500m"),
            ("1500m", "1500m"),
            ("1000m", "1"),
            ("2000", "2k"),
            ("1Gi", "1Gi"),
            ("1024Mi", "1Gi"),
            ("0.5Gi", "512Mi"),
            ("512", "512"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("1E", "1E"),
            ("-1.5", "-1500m"),
            ("0", "0"),
            ("100u", "100u"),
            ("0.1n", "1n"),
            (".5", "500m"),
            ("5.", "5"),
        ] {
            assert_eq!(Quantity::parse(text).map(|q| q.to_string()).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_amount_are_refused() {
        for (text, why) in [
            ("", BadQuantity::Format),
            ("lots", BadQuantity::Format),
            ("1 Gi", BadQuantity::Format),
            ("1.2.3", BadQuantity::Format),
            ("1kk", BadQuantity::Suffix),
            ("m001", BadQuantity::Suffix),
            ("1e", BadQuantity::Suffix),
        ] {
            assert_eq!(Quantity::parse(text), Err(why), "{text}");
        }
        // Answers of kube-apiserver 1.36.2.
        for text in ["-", "+", "m", "."] {
            assert_eq!(Quantity::parse(text).map(Quantity::nanos), Ok(0), "{text}");
        }
    }
}
