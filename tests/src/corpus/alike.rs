//! When two texts in normal form are the same.

use std::sync::LazyLock;

use regex::Regex;

/// How many seconds may lie between the start of a conversation and what still counts as now.
pub const NOW: i64 = 14;

static MOMENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"<now([+-][0-9]+)?(\.[0-9])?>").expect("a fixed pattern"));

/// Whether two texts are the same but for times near each other, which must be written with the same number of digits.
pub fn alike(expected: &str, actual: &str) -> bool {
    if expected == actual {
        return true;
    }
    if !expected.contains("<now") || !actual.contains("<now") || MOMENT.replace_all(expected, "") != MOMENT.replace_all(actual, "") {
        return false;
    }
    let moments = |text: &str| -> Vec<(i64, String)> {
        let moment = |found: regex::Captures<'_>| {
            let offset = found.get(1).and_then(|offset| offset.as_str().parse().ok()).unwrap_or(0);
            (offset, found.get(2).map_or_else(String::new, |digits| digits.as_str().to_owned()))
        };
        MOMENT.captures_iter(text).map(moment).collect()
    };
    moments(expected).iter().zip(&moments(actual)).all(|((want, a), (got, b))| a == b && (want - got).abs() <= NOW)
}

#[cfg(test)]
mod tests {
    use super::alike;

    #[test]
    fn times_near_each_other_are_the_same_and_others_are_not() {
        assert!(alike("a <now> b <now+30.6>", "a <now+14> b <now+20.6>"));
        assert!(!alike("a <now>", "a <now+15>") && !alike("a <now>", "b <now>") && !alike("<now>", "<now.6>") && !alike("<now>", "x"));
    }
}
