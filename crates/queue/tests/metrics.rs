//! Metrics of manager 10.1 as a scrape shows them.

use std::time::Duration;

use evenkeel_queue::{Priority, Queue, QueueMetrics, QueueOptions};
use futures::FutureExt;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::time::advance;

fn value(registry: &Registry, series: &str) -> Option<f64> {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[tokio::test(start_paused = true)]
async fn a_scrape_shows_depth_adds_retries_and_times() {
    let mut registry = Registry::default();
    let metrics = QueueMetrics::register(&mut registry);
    let queue = Queue::new(QueueOptions::named("deployment"), &metrics);
    let get = |series: &str| value(&registry, series).unwrap_or(-1.0);

    queue.add("a", Priority::Changed);
    queue.add("a", Priority::Changed);
    queue.add("b", Priority::Existing);
    assert_eq!(get("workqueue_depth{name=\"deployment\"}"), 2.0);
    assert_eq!(get("workqueue_adds_total{name=\"deployment\"}"), 2.0, "a de-duplicated add does not count");

    advance(Duration::from_secs(3)).await;
    let key = queue.next().now_or_never().flatten().unwrap();
    assert_eq!(get("workqueue_depth{name=\"deployment\"}"), 1.0);
    assert_eq!(get("workqueue_queue_duration_seconds_sum{name=\"deployment\"}"), 3.0);
    queue.add("a", Priority::Changed);
    assert_eq!(get("workqueue_adds_total{name=\"deployment\"}"), 3.0);

    advance(Duration::from_secs(2)).await;
    let second = queue.next().now_or_never().flatten().unwrap();
    advance(Duration::from_secs(1)).await;
    assert_eq!(get("workqueue_unfinished_work_seconds{name=\"deployment\"}"), 4.0);
    assert_eq!(get("workqueue_longest_running_processor_seconds{name=\"deployment\"}"), 3.0);
    queue.done(&key);
    queue.done(&second);
    queue.done(&second);
    assert_eq!(get("workqueue_work_duration_seconds_count{name=\"deployment\"}"), 2.0);
    assert_eq!(get("workqueue_work_duration_seconds_sum{name=\"deployment\"}"), 4.0);
    assert_eq!(get("workqueue_unfinished_work_seconds{name=\"deployment\"}"), 0.0);

    queue.retry("b");
    queue.add_after("b", Duration::from_secs(1));
    queue.add_after("c", Duration::ZERO);
    assert_eq!(get("workqueue_retries_total{name=\"deployment\"}"), 3.0, "every delayed add counts");
    assert_eq!(get("workqueue_queue_duration_seconds_bucket{le=\"1e-8\",name=\"deployment\"}"), 0.0);
    assert_eq!(get("workqueue_queue_duration_seconds_bucket{le=\"10.0\",name=\"deployment\"}"), 2.0);
}

/// manager 16.23: queues that were not made do not appear.
#[tokio::test(start_paused = true)]
async fn only_queues_that_exist_appear() {
    let mut registry = Registry::default();
    let metrics = QueueMetrics::register(&mut registry);
    let _queue: Queue<u8> = Queue::new(QueueOptions::named("replicaset"), &metrics);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(text.contains("name=\"replicaset\"") && !text.contains("name=\"deployment\""), "{text}");
}

/// manager 10.1: `serviceaccount_tokens_service` is shared by two queues.
#[tokio::test(start_paused = true)]
async fn queues_of_one_name_join_their_figures_and_leave_none_behind() {
    let mut registry = Registry::default();
    let metrics = QueueMetrics::register(&mut registry);
    let queues: Vec<_> = (0..2).map(|_| Queue::new(QueueOptions::named("shared"), &metrics)).collect();
    for queue in &queues {
        queue.add(1, Priority::Changed);
        queue.add(2, Priority::Changed);
        queue.next().await;
        queue.add(1, Priority::Changed);
    }
    advance(Duration::from_secs(1)).await;
    assert_eq!(value(&registry, "workqueue_depth{name=\"shared\"}"), Some(4.0));
    assert_eq!(value(&registry, "workqueue_unfinished_work_seconds{name=\"shared\"}"), Some(2.0));
    queues[0].shut_down_now();
    assert_eq!(value(&registry, "workqueue_depth{name=\"shared\"}"), Some(2.0));
    drop(queues);
    assert_eq!(value(&registry, "workqueue_depth{name=\"shared\"}"), Some(0.0));
    assert_eq!(value(&registry, "workqueue_unfinished_work_seconds{name=\"shared\"}"), None);
}
