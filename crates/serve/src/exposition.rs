use std::fmt;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

type Hook = Box<dyn Fn() + Send + Sync>;

/// The metrics of a process. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Arc<RwLock<Registry>>,
    hooks: Arc<Mutex<Vec<Hook>>>,
}

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The first that an `Accept` header names; text without one.
    pub(crate) fn for_accept(accept: &str) -> Self {
        let wanted = accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
        for media_type in wanted {
            match media_type {
                "application/openmetrics-text" => return Self::OpenMetrics,
                "text/plain" => return Self::Text,
                _ => {}
            }
        }
        Self::Text
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Metrics {
    /// These metrics.
    pub fn new(registry: Arc<RwLock<Registry>>) -> Self {
        Self { registry, hooks: Arc::default() }
    }

    /// The registry, to register more.
    pub fn registry(&self) -> &Arc<RwLock<Registry>> {
        &self.registry
    }

    /// Calls `hook` before each scrape, so that figures that change while nothing happens can be brought up to date. Must not block.
    pub fn before_scrape(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
    }

    pub(crate) fn write(&self, format: Format) -> Result<String, fmt::Error> {
        for hook in self.hooks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            hook();
        }
        let mut text = String::new();
        encode(&mut text, &self.registry.read().unwrap_or_else(PoisonError::into_inner))?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Text => classic(&text),
        })
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Rewrites OpenMetrics to the older text: there a counter's comments name the samples (`…_total`), and there is no unit and no end mark.
fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help: Option<(&str, &str)> = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest.split_once(' ').unwrap_or((rest, "")));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "unknown"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "stateset" => ("", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, words)) = help.take() {
                let _ = writeln!(text, "# HELP {name}{suffix} {words}");
            }
            let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_keep_their_total_and_marks_of_openmetrics_are_gone() {
        let open = "# HELP a_b Words here.\n# TYPE a_b counter\n# UNIT a_b seconds\na_b_total{x=\"1\"} 2\n# HELP d D.\n# TYPE d gauge\nd 1\n# EOF\n";
        let text = "# HELP a_b_total Words here.\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 2\n# HELP d D.\n# TYPE d gauge\nd 1\n";
        assert_eq!(classic(open), text);
    }

    #[test]
    fn the_format_follows_the_accept_header() {
        assert_eq!(Format::for_accept(""), Format::Text);
        assert_eq!(Format::for_accept("*/*"), Format::Text);
        assert_eq!(Format::for_accept("text/plain;version=0.0.4, application/openmetrics-text"), Format::Text);
        assert_eq!(Format::for_accept("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1"), Format::OpenMetrics);
    }
}
