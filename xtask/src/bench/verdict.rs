//! Figures held against what is to be reached.

use serde_json::{Value, json};

use crate::Failure;

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
}

impl Target {
    fn met(self, found: f64) -> bool {
        match self {
            Target::AtLeast(wanted) => found >= wanted,
            Target::AtMost(wanted) => found <= wanted,
        }
    }

    fn wanted(self) -> f64 {
        match self {
            Target::AtLeast(wanted) | Target::AtMost(wanted) => wanted,
        }
    }
}

/// What a bench found.
#[derive(Debug)]
pub struct Verdict {
    bench: &'static str,
    missed: Vec<String>,
}

impl Verdict {
    /// Nothing yet.
    pub fn of(bench: &'static str) -> Verdict {
        Verdict { bench, missed: Vec::new() }
    }

    /// Prints a figure set, with what was to be reached. A figure that is missing is not reached.
    pub fn line(&mut self, what: &str, figures: &Value, targets: &[(&str, Target)]) {
        println!("{}", self.judged(what, figures, targets));
    }

    fn judged(&mut self, what: &str, figures: &Value, targets: &[(&str, Target)]) -> Value {
        let mut line = json!({"bench": self.bench, "what": what});
        for (k, v) in figures.as_object().into_iter().flatten() {
            line[k] = v.clone();
        }
        let mut reached = true;
        for (figure, target) in targets {
            let (found, wanted) = (figures[figure].as_f64().unwrap_or(f64::NAN), target.wanted());
            line["to_reach"][*figure] = wanted.into();
            if !target.met(found) {
                reached = false;
                self.missed.push(format!("{what}: {figure} {found} (to reach: {wanted})"));
            }
        }
        if !targets.is_empty() {
            line["reached"] = reached.into();
        }
        line
    }

    /// An error that names what was not reached.
    pub fn result(self) -> Result<(), Failure> {
        if self.missed.is_empty() { Ok(()) } else { Err(Failure::Verdict(self.missed.join("; "))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_is_not_reached_or_missing_fails_the_bench() {
        let figures = json!({"ratio": 1.3, "calls": 2.2});
        let mut verdict = Verdict::of("gc");
        let line = verdict.judged("wide", &figures, &[("ratio", Target::AtMost(1.3)), ("calls", Target::AtLeast(2.0))]);
        let wanted =
            json!({"bench": "gc", "what": "wide", "ratio": 1.3, "calls": 2.2, "to_reach": {"ratio": 1.3, "calls": 2.0}, "reached": true});
        assert_eq!(line, wanted);
        assert_eq!(verdict.judged("told", &figures, &[])["reached"], Value::Null);
        assert!(verdict.missed.is_empty());
        assert_eq!(verdict.judged("chain", &figures, &[("calls", Target::AtMost(2.1)), ("none", Target::AtMost(1.0))])["reached"], false);
        let failure = verdict.result().expect_err("two were missed").to_string();
        assert_eq!(failure, "chain: calls 2.2 (to reach: 2.1); chain: none NaN (to reach: 1)");
    }
}
