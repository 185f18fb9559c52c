//! Words that loops build their phrases of ([`crate::ControlLoop::explain`]), so that `evenkeel plan` speaks in one voice.

/// `1 pod`, `3 pods`.
pub fn counted(count: i64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The same for things in memory.
pub fn of(count: usize, noun: &str) -> String {
    counted(i64::try_from(count).unwrap_or(i64::MAX), noun)
}

/// `2 pods to adopt, 1 pod to release`; what there is none of is left out.
pub fn claims(adopt: usize, release: usize, noun: &str) -> String {
    let part = |count: usize, what: &str| (count > 0).then(|| format!("{} to {what}", of(count, noun)));
    [part(adopt, "adopt"), part(release, "release")].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_none_is_left_out() {
        assert_eq!([counted(0, "pod"), counted(1, "pod"), counted(2, "pod")], ["0 pods", "1 pod", "2 pods"]);
        assert_eq!([of(1, "pod"), of(2, "pod")], ["1 pod", "2 pods"]);
        assert_eq!(claims(2, 1, "pod"), "2 pods to adopt, 1 pod to release");
        assert_eq!([claims(1, 0, "ReplicaSet"), claims(0, 2, "ReplicaSet")], ["1 ReplicaSet to adopt", "2 ReplicaSets to release"]);
    }
}
