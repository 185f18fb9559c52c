//! `process_*`: what the kernel says of this process (manager 10).

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// Clock ticks per second in `/proc`: `USER_HZ`, which Linux has fixed at 100 for programs on every architecture that Rust runs on.
const TICKS: f64 = 100.0;

/// Registers `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_virtual_memory_bytes`, `process_start_time_seconds`,
/// `process_open_fds` and `process_max_fds`, read from `/proc` at each scrape. What cannot be read does not appear: on other systems than
/// Linux that is all of them.
pub fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(Process));
}

#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for (name, help, kind, value) in figures() {
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            match kind {
                MetricType::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
                _ => metric.encode_gauge(&value)?,
            }
        }
        Ok(())
    }
}

/// Name (of a counter without its `_total`), help, type, value.
type Figure = (&'static str, &'static str, MetricType, f64);

fn figures() -> Vec<Figure> {
    let read = |path| fs::read_to_string(path).ok();
    let stat = read("/proc/self/stat").and_then(|text| Stat::parse(&text));
    let boot = read("/proc/stat").and_then(|text| line(&text, "btime "));
    let status = read("/proc/self/status").unwrap_or_default();
    let all: [Option<Figure>; 6] = [
        stat.map(|s| ("process_cpu_seconds", "Total user and system CPU time spent in seconds", MetricType::Counter, s.cpu / TICKS)),
        line(&status, "VmRSS:")
            .map(|kb| ("process_resident_memory_bytes", "Resident memory size in bytes", MetricType::Gauge, kb * 1024.0)),
        line(&status, "VmSize:").map(|kb| ("process_virtual_memory_bytes", "Virtual memory size in bytes", MetricType::Gauge, kb * 1024.0)),
        stat.zip(boot).map(|(s, boot)| {
            let help = "Start time of the process since unix epoch in seconds";
            ("process_start_time_seconds", help, MetricType::Gauge, boot + s.started / TICKS)
        }),
        open_files().map(|n| ("process_open_fds", "Number of open file descriptors", MetricType::Gauge, n)),
        read("/proc/self/limits")
            .and_then(|text| line(&text, "Max open files"))
            .map(|n| ("process_max_fds", "Maximum number of open file descriptors", MetricType::Gauge, n)),
    ];
    all.into_iter().flatten().collect()
}

/// The number that follows `name` on the line that begins with it.
fn line(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// Entries of `/proc/self/fd`, without the one through which they are read.
fn open_files() -> Option<f64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(count.saturating_sub(1) as f64)
}

/// What is read of `/proc/self/stat`, in ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stat {
    /// User and system time.
    cpu: f64,
    /// Since the system's boot.
    started: f64,
}

impl Stat {
    /// The second field, the program's name, may hold anything, spaces and brackets too: fields are counted from its last bracket on.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        // proc_pid_stat(5) counts from one, and what follows the name is field 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self { cpu: field(14)? + field(15)?, started: field(22)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_moves_no_field() {
        let text = "77 (a) 1 (b) S 1 77 77 0 -1 4194560 900 0 3 0 250 50 7 7 20 0 1 0 123456 1000000 500 18446744073709551615 1";
        assert_eq!(Stat::parse(text), Some(Stat { cpu: 300.0, started: 123_456.0 }));
        assert_eq!(Stat::parse("77 (short) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn numbers_are_found_behind_their_names() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 524288               files\n";
        assert_eq!(line(limits, "Max open files"), Some(1024.0));
        assert_eq!(line("Max open files            unlimited            unlimited            files\n", "Max open files"), None);
        assert_eq!(line("VmSize:\t   2000 kB\nVmRSS:\t    1000 kB\n", "VmRSS:"), Some(1000.0));
        assert_eq!(line("cpu 1 2\nbtime 1700000000\n", "btime "), Some(1_700_000_000.0));
    }

    /// manager 10: `process_*` should exist.
    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_measured_at_each_scrape() {
        let mut registry = Registry::default();
        register(&mut registry);
        let value = |name: &str| -> f64 {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_max_fds") > value("process_open_fds"));
        let started = std::time::UNIX_EPOCH + std::time::Duration::from_secs_f64(value("process_start_time_seconds"));
        // Ticks, whole seconds of the boot time, and a clock that was set since then.
        assert!(started.elapsed().is_ok_and(|age| age.as_secs() < 24 * 3600), "{started:?}");
        let files: Vec<_> = (0..100).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
        assert!(value("process_open_fds") >= 100.0);
        drop(files);
        let before = value("process_cpu_seconds_total");
        let mut waste = 0_u64;
        while value("process_cpu_seconds_total") == before {
            waste = (0..1_000_000).fold(waste, |a, b| std::hint::black_box(a ^ b));
        }
        assert!(value("process_cpu_seconds_total") > before);
    }
}
