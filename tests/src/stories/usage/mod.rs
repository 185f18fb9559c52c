//! kubectl and Helm as a person uses them: a table of uses, each with what must be seen.
//!
//! A use is a line or a few in one of the groups ([`GROUPS`], [`HELM`]); [`one_use`] is what they are written in, [`ground`] where they take
//! place. Groups run beside each other, each in a namespace of its own; the uses of a group in order.

mod access;
mod apply;
mod change;
mod create;
mod custom;
mod describe;
mod discovery;
mod get;
pub mod ground;
mod helm;
mod mistakes;
mod nodes;
pub mod one_use;
mod workloads;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use tokio::time::Instant;

use super::kubectl::{self, Kubectl};
use super::plane::{Place, Plane};
use crate::recorded::Broken;
use crate::recorded::chance::namespace_name;
use ground::Ground;
use one_use::Use;

/// Groups at a time: two cores are kept busy.
const AT_ONCE: usize = 4;
/// How long anything may take to be seen.
const PATIENT: Duration = Duration::from_secs(30);

/// Uses that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// What they are about.
    pub name: &'static str,
    /// The uses, in order.
    pub uses: fn() -> Vec<Use>,
}

/// The groups of the kubectl story; those that take longest first.
pub const GROUPS: [Group; 11] = [
    Group { name: "workloads", uses: workloads::uses },
    Group { name: "describe", uses: describe::uses },
    Group { name: "discovery", uses: discovery::uses },
    Group { name: "nodes", uses: nodes::uses },
    Group { name: "custom", uses: custom::uses },
    Group { name: "apply", uses: apply::uses },
    Group { name: "create", uses: create::uses },
    Group { name: "get", uses: get::uses },
    Group { name: "change", uses: change::uses },
    Group { name: "access", uses: access::uses },
    Group { name: "mistakes", uses: mistakes::uses },
];

/// The Helm story.
pub const HELM: [Group; 1] = [Group { name: "helm", uses: helm::uses }];

/// How a story is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where.
    pub place: Place,
    /// Just these groups; empty: all.
    pub only: Vec<String>,
    /// All expectations are made wrong: every use must fail, or it would prove nothing.
    pub spoiled: bool,
    /// Where its files go.
    pub folder: PathBuf,
}

/// How many uses went which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Were as they must be.
    pub passed: usize,
    /// Were not.
    pub failed: usize,
    /// Need what only the local control plane has.
    pub left_out: usize,
}

/// Tells the story of these groups; prints a line per use.
///
/// # Errors
/// When it cannot begin.
pub async fn tell(groups: &[Group], options: &Options) -> Result<Count, Broken> {
    let program = kubectl::find()?;
    if options.folder.exists() {
        std::fs::remove_dir_all(&options.folder).map_err(|error| Broken(format!("cannot empty {}: {error}", options.folder.display())))?;
    }
    println!("On {}{}", options.place.describe(), if options.spoiled { ", with wrong expectations" } else { "" });
    let plane = Plane::start(&options.place, &options.folder, true, None, &program).await?;
    let seed = Timestamp::now().as_nanosecond() as u64;
    let chosen: Vec<Group> =
        groups.iter().filter(|group| options.only.is_empty() || options.only.iter().any(|o| o == group.name)).copied().collect();
    let told = futures::stream::iter(chosen.into_iter().enumerate())
        .map(|(number, group)| {
            let namespace = namespace_name(seed, number as u64).replacen("b-", &format!("{}-", group.name), 1);
            tell_group(group, options, &program, &plane, namespace)
        })
        .buffer_unordered(AT_ONCE);
    let counts: Vec<Result<Count, Broken>> = told.collect().await;
    plane.stop().await;
    let mut count = Count::default();
    for one in counts {
        let one = one?;
        count.passed += one.passed;
        count.failed += one.failed;
        count.left_out += one.left_out;
    }
    let left_out = if count.left_out == 0 { String::new() } else { format!(", {} left out", count.left_out) };
    println!("{} passed, {} failed{left_out}", count.passed, count.failed);
    Ok(count)
}

async fn tell_group(group: Group, options: &Options, program: &Path, plane: &Plane, namespace: String) -> Result<Count, Broken> {
    let folder = options.folder.join(group.name);
    std::fs::create_dir_all(&folder).map_err(|error| Broken(format!("cannot make {}: {error}", folder.display())))?;
    let ground = Ground {
        kubectl: program.to_owned(),
        helm: std::env::var_os("EVENKEEL_HELM").map(PathBuf::from),
        kubeconfig: std::path::absolute(&plane.kubeconfig).map_err(|error| Broken(error.to_string()))?,
        cache: std::path::absolute(options.folder.join("cache")).map_err(|error| Broken(error.to_string()))?,
        namespace,
        folder: std::path::absolute(&folder).map_err(|error| Broken(error.to_string()))?,
        limit: if options.spoiled { Duration::ZERO } else { PATIENT },
        spoiled: options.spoiled,
    };
    let k = Kubectl::new(program, &ground.kubeconfig, "default");
    k.run(&["create", "namespace", &ground.namespace]).await?;
    let mut count = Count::default();
    for one in (group.uses)() {
        let title = format!("{}: {}", group.name, one.title);
        if let Some(why) = one.local.filter(|_| options.place != Place::Local) {
            count.left_out += 1;
            println!("left {title}: {why}");
            continue;
        }
        let start = Instant::now();
        match one.perform(&ground).await {
            Ok(()) => {
                count.passed += 1;
                println!("ok   {title} ({:.1} s)", start.elapsed().as_secs_f64());
            }
            Err(error) => {
                count.failed += 1;
                println!("FAIL {title} ({:.1} s): {error}", start.elapsed().as_secs_f64());
            }
        }
    }
    _ = k.run(&["delete", "namespace", &ground.namespace, "--wait=false"]).await;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all() -> Vec<(&'static str, Use)> {
        GROUPS.iter().chain(&HELM).flat_map(|group| (group.uses)().into_iter().map(|one| (group.name, one))).collect()
    }

    #[test]
    fn no_use_is_content_with_a_server_that_says_nothing() {
        for (group, one) in all() {
            assert!(!one.is_content_with_silence(), "{group}: {} looks at nothing but how it ends", one.title);
        }
    }

    #[test]
    fn titles_tell_uses_apart() {
        let uses = all();
        let titles: BTreeSet<_> = uses.iter().map(|(group, one)| (group, one.title)).collect();
        assert_eq!(titles.len(), uses.len());
    }

    #[test]
    fn the_story_is_as_long_as_it_says() {
        let kubectl: usize = GROUPS.iter().map(|group| (group.uses)().len()).sum();
        assert!(kubectl >= 110, "{kubectl} uses of kubectl");
        let helm: usize = HELM.iter().map(|group| (group.uses)().len()).sum();
        assert!(helm >= 10, "{helm} uses of Helm");
    }

    #[test]
    fn every_command_of_kubectl_is_used() {
        // `kubectl --help` of 1.36, but `alpha`, `completion`, `config`, `kuberc`, `options` and `plugin`, which ask no server.
        const COMMANDS: &str = "create expose run set explain get edit delete rollout scale autoscale certificate cluster-info top cordon uncordon \
            drain taint describe logs attach exec port-forward proxy cp auth debug events diff apply patch replace wait kustomize label annotate \
            api-resources api-versions version";
        let uses = all();
        let lines: Vec<&str> = uses.iter().flat_map(|(_, one)| one.lines_of()).collect();
        // Functions of their own: `describe` of every kind, and what runs beside others.
        let own = ["proxy"];
        for command in COMMANDS.split_whitespace().filter(|command| !own.contains(command)) {
            assert!(lines.iter().any(|line| line.split_whitespace().next() == Some(command)), "kubectl {command} is not used");
        }
        const GENERATORS: &str = "clusterrole clusterrolebinding configmap cronjob deployment ingress job namespace poddisruptionbudget \
            priorityclass quota role rolebinding secret service serviceaccount token";
        for generator in GENERATORS.split_whitespace() {
            assert!(lines.iter().any(|line| line.starts_with(&format!("create {generator} "))), "create {generator} is not used");
        }
    }
}
