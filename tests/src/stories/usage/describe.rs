//! `describe` of every kind, and `get` as a table of every kind.

use std::collections::BTreeSet;

use futures::future::LocalBoxFuture;
use futures::{FutureExt, StreamExt};

use super::access::signing_request;
use super::ground::{Ground, data};
use super::one_use::{Use, own, using};
use crate::recorded::Broken;
use crate::stories::wait::ensure;

/// Kinds that can be listed but whose objects nobody makes: the server answers them itself.
const NOT_MADE: [&str; 1] = ["componentstatuses"];
/// Kinds that discovery lists and a client can create: all have an object here (an Event is listed in two groups).
const KINDS: usize = 59;

pub(super) fn uses() -> Vec<Use> {
    let each = std::fs::read_to_string(data("usage/one-of-each.yaml")).unwrap_or_default();
    vec![
        using("one object of each kind", "create -f one-of-each.yaml")
            .file("one-of-each.yaml", each)
            .says("volumeattributesclass.storage.k8s.io/{ns}-one created")
            .lines(57)
            .then("create -f request.yaml")
            .file("request.yaml", signing_request("{ns}-one"))
            .says("certificatesigningrequest.certificates.k8s.io/{ns}-one created"),
        own("describe of every kind that has objects", every_kind),
        using("describe of several", "describe configmap/one secret/one")
            .like("^Name: +one$")
            .says("note:\n----\nhello")
            .like("^k: +5 bytes$"),
        using("describe by label", "describe namespaces -l story=one")
            .like("^Name: +{ns}-one$")
            .like("^Labels: +kubernetes.io/metadata.name={ns}-one$"),
        using("describe by the beginning of a name", "describe namespace {ns}-o").like("^Name: +{ns}-one$"),
        using("describe service", "describe service one")
            .like("^Selector: +app=one$")
            .like("^TargetPort: +web/TCP$")
            .like(r"^Endpoints: +192\.0\.2\.11:80$"),
        using("describe without events", "describe pod one --show-events=false").like("^  PodScheduled +False *$").lacks("Events:"),
        using("describe quota", "describe quota one").like("^Resource +Used +Hard$"),
        using("describe hpa", "describe hpa one").like(r"^  resource cpu on pods +\(as a percentage of request\): +<unknown> / 50%$"),
        using("describe networkpolicy", "describe networkpolicy one").says("    To Port: 80/TCP\n    From:\n      PodSelector: <none>"),
        using("a table of each kind", "get -f one-of-each.yaml")
            .like("^ingress.networking.k8s.io/one +<none> +\\* +80 +")
            .like("^statefulset.apps/one +0/0 +")
            .like("^networkpolicy.networking.k8s.io/one +app=one +")
            .like("^storageclass.storage.k8s.io/{ns}-one +story.example/none +Delete +Immediate +false +")
            .like("^poddisruptionbudget.policy/one +1 +N/A +0 +"),
        using("they all go", "delete -f one-of-each.yaml --wait=false")
            .lines(57)
            .says("volumeattributesclass.storage.k8s.io \"{ns}-one\" deleted")
            .then("delete -f request.yaml")
            .says("deleted"),
    ]
}

fn every_kind(ground: &Ground) -> LocalBoxFuture<'_, Result<(), Broken>> {
    async move {
        let listed = ground.run("api-resources --verbs=list,create -o name", None).await?;
        let listed: BTreeSet<&str> = listed.lines().filter(|name| !name.ends_with(".example") && !NOT_MADE.contains(name)).collect();
        let described: Vec<Result<usize, Broken>> =
            futures::stream::iter(&listed).map(|kind| describe(ground, kind)).buffer_unordered(2).collect().await;
        let mut objects = 0;
        let mut empty = 0;
        for count in described {
            let count = count?;
            objects += count;
            empty += usize::from(count == 0);
        }
        println!("     {} kinds described, {objects} objects; {empty} kinds without objects", listed.len() - empty);
        ensure(listed.len() - empty >= KINDS, || format!("only {} kinds have objects", listed.len() - empty))
    }
    .boxed_local()
}

/// Describes what there is of a kind in the group's namespace, or in the cluster.
async fn describe(ground: &Ground, kind: &str) -> Result<usize, Broken> {
    let said = ground.say(&format!("describe {kind}"), None, None).await?;
    ensure(said.ok, || format!("describe {kind}: {}", said.err))?;
    if said.out.is_empty() {
        return Ok(0);
    }
    // Each begins with its name; those that kubectl has no words for are shown field by field.
    let names = said.out.lines().filter(|line| line.starts_with("Name:") && line.len() > "Name:".len()).count();
    ensure(names > 0 && !ground.spoiled, || format!("describe {kind} names nothing: {}", said.out))?;
    ensure(!said.out.contains("Unable to") && !said.out.contains("error"), || format!("describe {kind}: {}", said.out))?;
    Ok(names)
}
