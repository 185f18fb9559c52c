//! How many objects may be collected before it looks like a mistake.

use std::{collections::BTreeMap, fmt, str::FromStr};

use jiff::SignedDuration;

/// How long a leader is new. What goes wrong with owners as a whole (a kind that reads as empty, a cache filled from an old server, a restored
/// backup) shows in the first minutes, so less is let through then.
pub const NEW_LEADER: SignedDuration = SignedDuration::from_mins(5);

/// A budget of deletions for objects of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// So many objects are never remarkable.
    pub objects: usize,
    /// Nor is this share of all objects of the kind, in percent.
    pub percent: usize,
    /// Within this time.
    pub window: SignedDuration,
}

impl Default for Budget {
    /// 1,000 objects or 20 % of the kind within a minute (docs/garbage-collection-budgets.md says why).
    fn default() -> Self {
        Self { objects: 1_000, percent: 20, window: SignedDuration::from_mins(1) }
    }
}

impl Budget {
    /// Most deletions of a kind with so many objects; of a new leader a fifth of the number and a quarter of the share.
    pub fn limit(&self, count: usize, new_leader: bool) -> usize {
        let (objects, percent) = if new_leader { (self.objects / 5, self.percent / 4) } else { (self.objects, self.percent) };
        objects.max(count.saturating_mul(percent) / 100)
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}%/{:#}", self.objects, self.percent, self.window)
    }
}

/// Budgets of all kinds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Budgets {
    every: Budget,
    /// By `plural.group`.
    named: BTreeMap<String, Budget>,
}

impl Budgets {
    /// The budget of a resource, by `plural.group`.
    pub fn of(&self, resource: &str) -> Budget {
        self.named.get(resource).copied().unwrap_or(self.every)
    }
}

/// Text that is no list of budgets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no budget: wanted is [RESOURCE=]OBJECTS/PERCENT%/WINDOW, such as 1000/20%/1m or pods=5000/50%/1m")]
pub struct BudgetError(String);

impl FromStr for Budgets {
    type Err = BudgetError;

    /// A comma list of `OBJECTS/PERCENT%/WINDOW`, for every kind, and of `plural.group=…`, for one.
    fn from_str(text: &str) -> Result<Self, BudgetError> {
        let mut budgets = Self::default();
        for entry in text.split(',').map(str::trim).filter(|e| !e.is_empty()) {
            let wrong = || BudgetError(entry.to_owned());
            let (resource, budget) = entry.split_once('=').map_or((None, entry), |(resource, budget)| (Some(resource), budget));
            let budget = one(budget).ok_or_else(wrong)?;
            match resource {
                None => budgets.every = budget,
                Some("") => return Err(wrong()),
                Some(resource) => drop(budgets.named.insert(resource.to_owned(), budget)),
            }
        }
        Ok(budgets)
    }
}

fn one(text: &str) -> Option<Budget> {
    let [objects, percent, window] = text.split('/').collect::<Vec<_>>()[..] else { return None };
    let percent: usize = percent.strip_suffix('%')?.parse().ok()?;
    let window: SignedDuration = window.parse().ok()?;
    let sensible = percent <= 100 && window >= SignedDuration::from_secs(1) && window <= SignedDuration::from_hours(24);
    sensible.then_some(Budget { objects: objects.parse().ok()?, percent, window })
}
