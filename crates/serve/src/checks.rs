use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

/// A page that health checks appear on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `/healthz`: election and every running controller (manager 9.2).
    Healthz,
    /// `/livez`: whether a restart would help.
    Livez,
    /// `/readyz`: standby, or caches filled.
    Readyz,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Healthz, Self::Livez, Self::Readyz];

    /// Its name in paths and texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthz => "healthz",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
        }
    }
}

type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

#[derive(Clone)]
struct Named {
    name: String,
    on: Vec<Endpoint>,
    check: Check,
}

/// The health checks of a process, in the order in which they were registered. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub struct Checks {
    all: Arc<RwLock<Vec<Named>>>,
}

impl Checks {
    /// Registers a check on these pages, in place of one of the same name. It must not block, and says why it fails; that text goes to the
    /// log only.
    pub fn register(&self, name: impl Into<String>, on: &[Endpoint], check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        let named = Named { name: name.into(), on: on.to_vec(), check: Arc::new(check) };
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|other| other.name == named.name) {
            Some(other) => *other = named,
            None => all.push(named),
        }
    }

    /// Removes a check, as when its controller stops.
    pub fn remove(&self, name: &str) {
        self.all.write().unwrap_or_else(PoisonError::into_inner).retain(|named| named.name != name);
    }

    /// Names and outcomes of a page's checks. A page without any has one that always passes, `ping` (manager 9.2).
    ///
    /// Checks in `skip` are not run; for these the outcome is `None`.
    pub(crate) fn run(&self, endpoint: Endpoint, skip: impl Fn(&str) -> bool) -> Vec<(String, Option<Result<(), String>>)> {
        let mut chosen: Vec<Named> = self.all.read().unwrap_or_else(PoisonError::into_inner).clone();
        chosen.retain(|named| named.on.contains(&endpoint));
        if chosen.is_empty() {
            chosen.push(Named { name: "ping".to_owned(), on: Vec::new(), check: Arc::new(|| Ok(())) });
        }
        let outcome =
            |named: &Named| catch_unwind(AssertUnwindSafe(|| (named.check)())).unwrap_or_else(|_| Err("the check panicked".to_owned()));
        chosen.into_iter().map(|named| ((!skip(&named.name)).then(|| outcome(&named)), named.name)).map(|(o, n)| (n, o)).collect()
    }
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(all.iter().map(|named| &named.name)).finish()
    }
}
