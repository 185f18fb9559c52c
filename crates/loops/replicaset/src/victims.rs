use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use evenkeel_api::{Name, Phase, Pod, Uid};
use jiff::Timestamp;

/// What the ranking knows besides the pods themselves.
#[derive(Debug, Clone, Copy)]
pub struct Ranking<'a> {
    /// Active related pods per node (workloads 3.7 rule 5); empty where the rule does not apply.
    pub related_on_node: &'a BTreeMap<Name, u32>,
    /// Gate `PodDeletionCost` (rule 4).
    pub deletion_cost: bool,
    /// The moment that ages are counted from.
    pub now: Timestamp,
}

/// The `count` candidates to give up, the least useful first (workloads 3.7). If all go, they are not ranked.
///
/// Rule 6 decides between pods that became ready at different times within one bucket by uid and never gets to restarts, while pods that
/// became ready at the same time are told apart by restarts. So upstream's comparison can go round in a circle, and what its sort then makes
/// of it depends on the order in which the pods came. Here the order is total: it is upstream's wherever that is one, and otherwise one in
/// which at least no two neighbours stand the wrong way round.
pub fn choose_victims(candidates: &[Arc<Pod>], count: usize, ranking: Ranking<'_>) -> Vec<Arc<Pod>> {
    if count >= candidates.len() {
        return candidates.to_vec();
    }
    let mut ranked: Vec<(Coarse, Option<Timestamp>, Fine<'_>, &Arc<Pod>)> =
        candidates.iter().map(|pod| (ranking.coarse(pod), pod.ready_since.filter(|_| pod.ready), ranking.fine(pod), pod)).collect();
    ranked.sort_by(|a, b| (&a.0, &a.1, &a.2).cmp(&(&b.0, &b.1, &b.2)));
    let mut out = Vec::with_capacity(count);
    for run in ranked.chunk_by(|a, b| a.0 == b.0) {
        if out.len() >= count {
            break;
        }
        let groups = run.chunk_by(|a, b| a.1 == b.1).map(|group| group.iter().map(|(.., pod)| *pod).collect()).collect();
        merge_by_uid(groups, count - out.len(), &mut out);
    }
    out
}

/// Takes the head with the smallest uid, again and again. Pods of one group keep their order.
fn merge_by_uid(mut groups: Vec<VecDeque<&Arc<Pod>>>, count: usize, out: &mut Vec<Arc<Pod>>) {
    let mut heads: BTreeSet<(Uid, usize)> =
        groups.iter().enumerate().filter_map(|(at, group)| Some((group.front()?.meta.uid.clone(), at))).collect();
    for _ in 0..count {
        let Some((_, at)) = heads.pop_first() else { return };
        out.extend(groups[at].pop_front().cloned());
        if let Some(next) = groups[at].front() {
            heads.insert((next.meta.uid.clone(), at));
        }
    }
}

/// Rules 1 to 6, up to where rule 6 asks for the uid.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Coarse {
    assigned: bool,
    phase: Phase,
    ready: bool,
    cost: i32,
    related: Reverse<u32>,
    ready_for: Bucket,
}

/// Rules 7 and 8; equal pods by uid, so that the order in which they come changes nothing.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Fine<'p> {
    restarts: Reverse<i32>,
    sidecar_restarts: Reverse<i32>,
    age: Bucket,
    uid: &'p Uid,
}

/// An age on a logarithmic scale: `None` (no time) first, then −1 (not yet), then ⌊log2(nanoseconds)⌋.
type Bucket = Option<i64>;

fn bucket(since: Timestamp, now: Timestamp) -> i64 {
    let age = now.duration_since(since).as_nanos();
    if age > 0 { i64::from(age.ilog2()) } else { -1 }
}

impl Ranking<'_> {
    fn coarse(&self, pod: &Pod) -> Coarse {
        Coarse {
            assigned: pod.node.is_some(),
            phase: pod.phase,
            ready: pod.ready,
            cost: if self.deletion_cost { pod.deletion_cost } else { 0 },
            related: Reverse(pod.node.as_ref().and_then(|node| self.related_on_node.get(node)).copied().unwrap_or(0)),
            ready_for: pod.ready_since.filter(|_| pod.ready).map(|since| bucket(since, self.now)),
        }
    }

    fn fine<'p>(&self, pod: &'p Pod) -> Fine<'p> {
        Fine {
            restarts: Reverse(pod.restarts),
            sidecar_restarts: Reverse(pod.sidecar_restarts),
            age: pod.meta.created.map(|created| bucket(created, self.now)),
            uid: &pod.meta.uid,
        }
    }
}

/// For each ready victim its age, divided by that of the youngest ready candidate (workloads 3.7 and B9: as a fraction, and a youngest
/// pod of less than a millisecond counts as one millisecond old).
pub fn deletion_age_ratios(victims: &[Arc<Pod>], candidates: &[Arc<Pod>], now: Timestamp) -> Vec<f64> {
    let age = |created: Timestamp| now.duration_since(created).as_secs_f64().max(0.0);
    let Some(youngest) = candidates.iter().filter(|p| p.ready).filter_map(|p| p.meta.created).max() else { return Vec::new() };
    let youngest = age(youngest).max(0.001);
    victims.iter().filter(|p| p.ready).filter_map(|p| p.meta.created).map(|created| age(created) / youngest).collect()
}
