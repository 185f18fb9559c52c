//! What is collected over a kind's budget is told, or held (docs/garbage-collection-budgets.md).

use std::sync::Arc;

use evenkeel_garbage_collector::{Budget, Budgets, Interlock};
use evenkeel_plan::Propagation::Background;

use crate::world::{World, owner};

#[test]
fn a_budget_is_a_number_or_a_share_whichever_is_more_and_less_for_a_new_leader() {
    let budget = Budget::default();
    let limits = |count| (budget.limit(count, false), budget.limit(count, true));
    assert_eq!(limits(10), (1_000, 200));
    assert_eq!(limits(100_000), (20_000, 5_000));
    assert_eq!(budget.limit(usize::MAX, false), usize::MAX / 100);
}

#[test]
fn budgets_are_named_by_resource() {
    let budgets: Budgets = "50/10%/30s, pods=5000/50%/2m,widgets.example.com=0/100%/1s,nodes=1/0%/24h".parse().unwrap();
    assert_eq!(budgets.of("secrets").to_string(), "50/10%/30s");
    assert_eq!(budgets.of("pods").to_string(), "5000/50%/2m");
    assert_eq!(budgets.of("widgets.example.com").limit(100, false), 100);
    assert_eq!(budgets.of("nodes").to_string(), "1/0%/24h");
    assert_eq!("".parse(), Ok(Budgets::default()));
    assert_eq!(Budgets::default().of("pods"), Budget::default());
    for wrong in ["5", "5/5/1m", "5/5%", "5/101%/1m", "=5/5%/1m", "5/5%/0s", "5/5%/2d", "-1/5%/1m", "5/5%/1m/1m", "x/5%/1m"] {
        let told = wrong.parse::<Budgets>().unwrap_err().to_string();
        assert!(told.starts_with(&format!("{wrong:?} is no budget: wanted is [RESOURCE=]OBJECTS/PERCENT%/WINDOW")), "{told}");
    }
}

/// Owners with so many ConfigMaps each; their budget is ten a minute.
fn world(owners: &[(&str, usize)], holds: bool) -> (World, Arc<Interlock>) {
    let mut world = World::new();
    let interlock = world.lock("1000/0%/1m,configmaps=10/0%/1m", holds);
    for (name, children) in owners {
        world.create("Secret", name, &[]);
        (0..*children).for_each(|n| world.create("ConfigMap", &format!("{name}-{n:02}"), &[owner("Secret", name)]));
    }
    world.run();
    (world, interlock)
}

fn left(world: &World, prefix: &str) -> usize {
    world.names().iter().filter(|name| name.starts_with(prefix)).count()
}

fn told(world: &World, reason: &str) -> Vec<String> {
    world.events.iter().filter(|event| event.contains(reason)).cloned().collect()
}

#[test]
fn without_holding_the_first_one_over_the_budget_is_told_of_and_all_go() {
    let (mut world, interlock) = world(&[("a", 25), ("b", 12)], false);
    world.delete("Secret", "a", Background);
    world.run();
    assert_eq!(left(&world, "a"), 0);
    let text = "a-10 OverCollectionBudget: 10 configmaps collected, over the budget of 10 within 1m: going on";
    assert_eq!(told(&world, "OverCollectionBudget"), [text]);
    let batches = interlock.batches();
    assert_eq!(batches.iter().map(|b| (b.id.as_str(), b.objects, b.held)).collect::<Vec<_>>(), [("configmaps-1", 15, false)]);
    assert_eq!((batches[0].kind.plural, batches[0].since), ("configmaps", world.now()));
    assert!(interlock.names().is_empty(), "the next leader has nothing to know");

    // Once the window is over it is another batch.
    world.wait(61_000);
    world.delete("Secret", "b", Background);
    world.run();
    assert_eq!((left(&world, "b"), told(&world, "OverCollectionBudget").len()), (0, 2));
    assert_eq!(interlock.batches().iter().map(|b| (b.id.as_str(), b.objects)).collect::<Vec<_>>(), [("configmaps-2", 2)]);
}

#[test]
fn what_is_held_waits_for_its_release_and_nothing_else_does() {
    let (mut world, interlock) = world(&[("a", 25), ("b", 3)], true);
    interlock.lead(&[], &[]);
    // Five minutes later the leader is new no longer.
    world.wait(300_000);
    world.restart();
    world.create("ConfigMap", "c", &[]);
    world.create("Secret", "c-secret", &[owner("ConfigMap", "c")]);
    world.run();
    world.delete("Secret", "a", Background);
    world.run();
    world.run_with_retries(3);
    assert_eq!(left(&world, "a"), 15);
    let text = "a-10 CollectionHeld: 10 configmaps collected, over the budget of 10 within 1m: the rest is held as configmaps-1 until \
                `evenkeel gc release configmaps-1`";
    assert_eq!(told(&world, "CollectionHeld"), [text]);
    assert_eq!(interlock.batches().iter().map(|b| (b.objects, b.held)).collect::<Vec<_>>(), [(15, true)]);
    assert_eq!(interlock.names().into_iter().collect::<Vec<_>>(), ["configmaps-1"]);

    world.delete("ConfigMap", "c", Background);
    world.run();
    assert_eq!(left(&world, "c"), 0, "another kind has another budget");
    world.wait(31_000);
    world.delete("Secret", "b", Background);
    world.run();
    assert_eq!((left(&world, "b"), left(&world, "a")), (0, 15), "the same kind goes on with the next window");

    assert!(!interlock.release(&["configmaps-2".to_owned(), "secrets-1".to_owned()]));
    assert!(interlock.release(&["configmaps-1".to_owned()]));
    assert!(!interlock.release(&["configmaps-1".to_owned()]), "it is released once");
    assert!(!interlock.batches()[0].held);
    world.restart();
    world.run();
    assert_eq!((left(&world, "a"), interlock.batches().len()), (0, 0));
    assert!(interlock.names().is_empty(), "a batch that has gone is forgotten");
}

#[test]
fn what_has_an_owner_again_leaves_the_batch() {
    let (mut world, interlock) = world(&[("a", 15)], true);
    interlock.lead(&[], &[]);
    world.wait(300_000);
    world.create("Secret", "new", &[]);
    world.delete("Secret", "a", Background);
    world.run();
    assert_eq!(interlock.batches()[0].objects, 5);
    for n in 10..15 {
        world.edit("ConfigMap", &format!("a-{n}"), |meta| meta["ownerReferences"] = serde_json::json!([owner("Secret", "new")]));
    }
    world.restart();
    world.run();
    for n in 10..15 {
        world.look_at("ConfigMap", &format!("a-{n}"));
    }
    world.run();
    assert!(interlock.batches().is_empty());
    assert_eq!(left(&world, "a"), 5);
}

#[test]
fn a_new_leader_has_less_to_spend() {
    let (mut world, interlock) = world(&[("a", 25)], true);
    interlock.lead(&[], &[]);
    world.delete("Secret", "a", Background);
    world.run();
    assert_eq!(left(&world, "a"), 23);
}

#[test]
fn a_leader_that_holds_decides_nothing_before_it_knows_what_was_held() {
    let (mut world, interlock) = world(&[("a", 3)], true);
    world.delete("Secret", "a", Background);
    world.run();
    assert_eq!((left(&world, "a"), world.log.len()), (3, 0));
    interlock.lead(&[], &[]);
    world.restart();
    world.run();
    // A fifth of ten.
    assert_eq!(left(&world, "a"), 1);
}

#[test]
fn the_next_leader_goes_on_holding_and_numbers_go_on() {
    let (mut world, interlock) = world(&[("a", 4), ("b", 30)], true);
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    interlock.lead(&ids(&["configmaps-3", "odd", "secrets-x"]), &ids(&["configmaps-2", "configmaps-7"]));
    assert_eq!(interlock.names().into_iter().collect::<Vec<_>>(), ["configmaps-3"], "known before anything was looked at");
    world.delete("Secret", "a", Background);
    world.run();
    assert_eq!(left(&world, "a"), 4, "what is found at first belongs to the batch, and costs no budget");
    assert_eq!(
        told(&world, "CollectionHeld"),
        ["a-00 CollectionHeld: still holding configmaps-3; `evenkeel gc release configmaps-3` lets it go"]
    );
    assert_eq!(interlock.batches().iter().map(|b| (b.id.as_str(), b.objects)).collect::<Vec<_>>(), [("configmaps-3", 4)]);

    world.wait(300_000);
    world.delete("Secret", "b", Background);
    world.run();
    assert_eq!(left(&world, "b"), 20);
    let batches = |interlock: &Interlock| interlock.batches().into_iter().map(|b| (b.id, b.objects)).collect::<Vec<_>>();
    assert_eq!(batches(&interlock), [("configmaps-3".to_owned(), 24)], "a kind has one batch that is held");

    assert!(interlock.release(&ids(&["configmaps-3"])));
    world.wait(61_000);
    world.create("Secret", "c", &[]);
    (0..30).for_each(|n| world.create("ConfigMap", &format!("c-{n:02}"), &[owner("Secret", "c")]));
    world.run();
    world.delete("Secret", "c", Background);
    world.run();
    assert_eq!(left(&world, "c"), 20);
    let fresh: Vec<String> = interlock.names().into_iter().filter(|id| id != "configmaps-3").collect();
    assert_eq!(fresh, ["configmaps-8"], "no number is given twice");
}

#[test]
fn a_release_outlives_the_leader_to_whom_it_was_said() {
    let (mut world, interlock) = world(&[("a", 40)], true);
    let batch = ["configmaps-1".to_owned()];
    interlock.lead(&batch, &batch);
    world.delete("Secret", "a", Background);
    world.run();
    assert_eq!(left(&world, "a"), 0);
    assert!(told(&world, "CollectionHeld").is_empty());
}

#[test]
fn a_release_of_one_batch_lets_no_other_go() {
    let (mut world, interlock) = world(&[("a", 40)], true);
    interlock.lead(&["configmaps-1".to_owned(), "secrets-1".to_owned()], &[]);
    assert!(interlock.release(&["secrets-1".to_owned()]));
    assert!(!interlock.release(&["secrets-1".to_owned()]), "once is enough");
    world.delete("Secret", "a", Background);
    world.run();
    assert_eq!(left(&world, "a"), 40);
    assert!(interlock.release(&["configmaps-1".to_owned()]));
}

/// Somebody else may delete what is held, too: nobody waits for its release any more.
#[test]
fn a_batch_ends_with_its_last_object_whoever_deletes_that() {
    for released in [false, true] {
        let (mut world, interlock) = world(&[("a", 12)], true);
        interlock.lead(&[], &[]);
        world.wait(300_000);
        world.delete("Secret", "a", Background);
        world.run();
        assert_eq!(left(&world, "a"), 2);
        if released {
            // Of a batch that is on its way somebody else takes an object before the collector does.
            world.meddle(|server, write| {
                (write.verb() == "delete").then(|| server.delete(write.kind(), write.key(), Background, jiff::Timestamp::UNIX_EPOCH));
                None
            });
            assert!(interlock.release(&["configmaps-1".to_owned()]));
            world.list("ConfigMap");
        } else {
            ["a-10", "a-11"].into_iter().for_each(|name| world.delete("ConfigMap", name, Background));
        }
        world.run();
        assert_eq!((left(&world, "a"), interlock.batches(), interlock.names().len()), (0, vec![], 0));
    }
}

/// The window goes on second by second: what was spent leaves it when it is as old as the window is long.
#[test]
fn what_was_spent_leaves_the_window_in_the_order_in_which_it_was_spent() {
    let (mut world, interlock) = world(&[("a", 4), ("b", 4), ("c", 4), ("d", 5)], true);
    interlock.lead(&[], &[]);
    world.wait(300_000);
    let gone = |world: &mut World, name: &str| {
        world.delete("Secret", name, Background);
        world.run();
        left(world, name)
    };
    assert_eq!(gone(&mut world, "a"), 0);
    world.wait(30_000);
    assert_eq!(gone(&mut world, "b"), 0);
    world.wait(29_000);
    assert_eq!(gone(&mut world, "c"), 2, "ten within the minute");
    world.wait(1_000);
    assert_eq!(gone(&mut world, "d"), 1, "the first four have left it");
}
