/// Whether two resource quantities are the same amount: `1`, `1000m` and `1e0` are (workloads 1.7.2). Texts that are no quantity are the
/// same only when they are equal.
pub fn same_quantity(a: &str, b: &str) -> bool {
    a == b || matches!((parse(a), parse(b)), (Some(x), Some(y)) if x == y)
}

/// One text for all forms of an amount; `None` where `text` is no quantity.
pub(crate) fn canonical(text: &str) -> Option<String> {
    parse(text).map(|amount| format!("{}e{}", amount.digits, amount.ten))
}

/// A quantity as digits times a power of ten, in lowest terms.
#[derive(PartialEq, Eq)]
struct Amount {
    digits: i128,
    ten: i32,
}

fn parse(text: &str) -> Option<Amount> {
    let body = text.trim_start_matches(['+', '-']);
    let negative = match text.len() - body.len() {
        0 => false,
        1 => text.starts_with('-'),
        _ => return None,
    };
    let end = body.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(body.len());
    let (number, suffix) = body.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let mut digits: i128 = 0;
    for c in whole.bytes().chain(fraction.bytes()) {
        digits = digits.checked_mul(10)?.checked_add(i128::from(c - b'0'))?;
    }
    let mut ten = -i32::try_from(fraction.len()).ok()?;
    let mut binary = 0;
    match suffix {
        "n" => ten -= 9,
        "u" => ten -= 6,
        "m" => ten -= 3,
        "" => {}
        "k" => ten += 3,
        "M" => ten += 6,
        "G" => ten += 9,
        "T" => ten += 12,
        "P" => ten += 15,
        "E" => ten += 18,
        "Ki" => binary = 10,
        "Mi" => binary = 20,
        "Gi" => binary = 30,
        "Ti" => binary = 40,
        "Pi" => binary = 50,
        "Ei" => binary = 60,
        _ => ten += suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok().filter(|e| e.abs() < 1000)?,
    }
    digits = digits.checked_mul(1_i128 << binary)?;
    if digits == 0 {
        return Some(Amount { digits: 0, ten: 0 });
    }
    while digits % 10 == 0 {
        digits /= 10;
        ten += 1;
    }
    Some(Amount { digits: if negative { -digits } else { digits }, ten })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_amounts_are_the_same_whatever_their_form() {
        for (a, b) in [
            ("1", "1000m"),
            ("1Gi", "1073741824"),
            ("1Ki", "1024"),
            ("0.5", "500m"),
            ("1e3", "1k"),
            ("0", "0m"),
            ("100M", "1e8"),
            ("1.5Gi", "1610612736"),
        ] {
            assert!(same_quantity(a, b), "{a} {b}");
        }
        for (a, b) in [("1", "2"), ("1Gi", "1G"), ("-1", "1"), ("x", "y"), ("1..", "1"), ("", "0")] {
            assert!(!same_quantity(a, b), "{a} {b}");
        }
    }
}
