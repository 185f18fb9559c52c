//! What comes out of a run, and the list of differences that may be there.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Broken;

/// What came out of one entry of a recorded file.
#[derive(Debug)]
pub struct Played {
    /// Its name.
    pub id: String,
    /// What is not as recorded.
    pub fault: Option<Broken>,
    /// What was seen at each look, for whoever wants to see all of it.
    pub pictures: Vec<(usize, serde_json::Value)>,
    /// How long it took.
    pub took: Duration,
}

/// What came out of a run, in the order of the file.
#[derive(Debug, Default)]
pub struct Report {
    /// What was played.
    pub played: Vec<Played>,
    /// Differences that are meant, with their reasons.
    pub meant: BTreeMap<String, String>,
}

impl Report {
    /// What failed and was not meant to.
    pub fn failed(&self) -> impl Iterator<Item = &Played> {
        self.played.iter().filter(|played| played.fault.is_some() && !self.meant.contains_key(&played.id))
    }

    /// How many passed.
    pub fn passed(&self) -> usize {
        self.played.iter().filter(|played| played.fault.is_none()).count()
    }

    /// Everything that was seen of what failed.
    pub fn print_pictures(&self) {
        for played in self.played.iter().filter(|played| played.fault.is_some()) {
            println!("{} ({:.1} s)", played.id, played.took.as_secs_f64());
            for (step, picture) in &played.pictures {
                println!("  {step} {picture}");
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for played in &self.played {
            if let Some(fault) = &played.fault {
                let word = if self.meant.contains_key(&played.id) { "MEANT" } else { "FAIL" };
                writeln!(f, "{word} {}: {fault}", played.id)?;
            }
        }
        let failed = self.failed().count();
        if !self.meant.is_empty() {
            writeln!(f, "{} differ as meant", self.played.len() - self.passed() - failed)?;
        }
        write!(f, "{} passed, {failed} failed", self.passed())
    }
}

/// Reads differences that are meant, `ID reason` a line: reasons by id.
///
/// # Errors
/// When a line gives no reason.
pub fn read_meant(text: &str) -> Result<BTreeMap<String, String>, Broken> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split_once(' ') {
            Some((id, reason)) if !reason.trim().is_empty() => Ok((id.to_owned(), reason.trim().to_owned())),
            _ => Err(Broken(format!("{line} has no reason"))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_meant_differences_apart() {
        let played = |id: &str, fault: bool| Played {
            id: id.into(),
            fault: fault.then(|| Broken("differs".into())),
            pictures: Vec::new(),
            took: Duration::ZERO,
        };
        let report = Report {
            played: vec![played("a", false), played("b", true), played("c", true)],
            meant: BTreeMap::from([("b".to_owned(), "why".to_owned())]),
        };
        assert_eq!(report.to_string(), "MEANT b: differs\nFAIL c: differs\n1 differ as meant\n1 passed, 1 failed");
    }

    #[test]
    fn a_meant_difference_without_a_reason_is_refused() {
        let meant = read_meant("# why\n\ndeploy-x  Better 3 in workloads\n").expect("a reason");
        assert_eq!(meant["deploy-x"], "Better 3 in workloads");
        assert!(read_meant("deploy-x\n").is_err());
    }
}
