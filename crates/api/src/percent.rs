use serde_json::Value;

/// An integer, or a percentage as a text such as `25%` (workloads 1.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntOrPercent {
    /// A plain number.
    Int(i32),
    /// A text; a percentage if it ends in `%`, else an error when it is resolved.
    Text(String),
}

/// A text that is no percentage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid value for IntOrString: invalid type: string is not a percentage")]
pub struct PercentError;

impl IntOrPercent {
    /// Reads a field; `None` when absent or of another type.
    pub fn read(value: Option<&Value>) -> Option<Self> {
        match value? {
            Value::Number(n) => Some(Self::Int(n.as_i64()?.clamp(i32::MIN.into(), i32::MAX.into()) as i32)),
            Value::String(s) => Some(Self::Text(s.clone())),
            _ => None,
        }
    }

    /// The number for a total of `total`; percentages round up or down. Saturates instead of overflowing.
    pub fn resolve(&self, total: i32, round_up: bool) -> Result<i32, PercentError> {
        let text = match self {
            Self::Int(n) => return Ok(*n),
            Self::Text(text) => text,
        };
        let digits = text.strip_suffix('%').ok_or(PercentError)?;
        let percent: i64 = digits.parse::<i32>().map_err(|_| PercentError)?.into();
        let product = percent * i64::from(total);
        let part = if round_up { product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0) } else { product.div_euclid(100) };
        Ok(part.clamp(i32::MIN.into(), i32::MAX.into()) as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surge_rounds_up_and_unavailable_rounds_down() {
        let p = |t: &str| IntOrPercent::Text(t.into());
        assert_eq!(p("39%").resolve(10, true), Ok(4));
        assert_eq!(p("39%").resolve(10, false), Ok(3));
        assert_eq!(p("25%").resolve(1, true), Ok(1));
        assert_eq!(p("25%").resolve(1, false), Ok(0));
        assert_eq!(p("2147483647%").resolve(i32::MAX, true), Ok(i32::MAX));
        assert_eq!(p("many").resolve(10, true), Err(PercentError));
        assert_eq!(p("1.5%").resolve(10, true), Err(PercentError));
    }
}
