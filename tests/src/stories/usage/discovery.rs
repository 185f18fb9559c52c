//! What there is: `api-resources`, `api-versions`, `explain`, `version`, `cluster-info`.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::LocalBoxFuture;
use futures::{FutureExt, StreamExt};

use super::ground::Ground;
use super::one_use::{Use, own, using};
use crate::recorded::Broken;
use crate::stories::wait::ensure;

/// Kinds of Kubernetes 1.36 that discovery lists, as `kubectl api-resources` counts them.
const KINDS: usize = 67;

pub(super) fn uses() -> Vec<Use> {
    vec![
        using("api-resources", "api-resources")
            .like("^NAME +SHORTNAMES +APIVERSION +NAMESPACED +KIND$")
            .like("^deployments +deploy +apps/v1 +true +Deployment$")
            .like("^nodes +no +v1 +false +Node$"),
        using("api-resources, wide", "api-resources -o wide --api-group=apps")
            .like("^statefulsets +sts +apps/v1 +true +StatefulSet +create,delete,deletecollection,get,list,patch,update,watch +all$")
            .lines(6),
        using("api-resources by verb and scope", "api-resources --verbs=list,create --namespaced=false -o name --sort-by=name")
            .says("certificatesigningrequests.certificates.k8s.io\n")
            .lacks("pods"),
        using("api-resources as JSON", "api-resources --api-group=batch -o json").says("\"kind\": \"CronJob\""),
        using("api-versions", "api-versions").like("^v1$").like("^apps/v1$").like("^resource.k8s.io/v1$").like("^autoscaling/v2$"),
        using("explain a kind", "explain deployments")
            .says("GROUP:      apps\nKIND:       Deployment\nVERSION:    v1\n\nDESCRIPTION:\n    Deployment enables declarative updates for Pods and ReplicaSets.")
            .like("^  spec\t<DeploymentSpec>$"),
        using("explain a field", "explain pods.spec.containers.imagePullPolicy").says("FIELD: imagePullPolicy <string>").says("ENUM:\n    Always\n    IfNotPresent\n    Never"),
        using("explain by version", "explain hpa.spec --api-version=autoscaling/v1").like("^  targetCPUUtilizationPercentage\t<integer>$"),
        using("explain the old way", "explain services.spec.ports --output=plaintext-openapiv2")
            .says("KIND:     Service\nVERSION:  v1\n\nRESOURCE: ports <[]Object>")
            .like("^   port\t<integer> -required-$"),
        own("explain --recursive of every kind", explain),
        using("version", "version").like(r"^Client Version: v1\.\d+").like(r"^Server Version: v1\.36\.\d+"),
        using("version as YAML", "version -o yaml").says("serverVersion:\n").like("^  minor: \"36\"$"),
        using("cluster-info", "cluster-info").says("Kubernetes control plane").says("is running at").says("https://"),
        using("cluster-info dump", "cluster-info dump --namespaces={ns} --output-directory=dump").says("Cluster info dumped to dump").then("get -f dump/nodes.json -o name --ignore-not-found").like("^(node/|$)"),
        using("is it well", "get --raw /readyz?verbose").like(r"^\[\+\]ping ok$").like("^readyz check passed$").then("get --raw /livez").is("ok"),
        using("the server's paths", "get --raw /").says("\"/apis/apps/v1\"").says("\"/openapi/v3\""),
        using("the server's version", "get --raw /version").like("^  \"major\": \"1\",$"),
        using("groups", "get --raw /apis").says("\"kind\":\"APIGroupList\"").says("\"groupVersion\":\"apps/v1\""),
        using("API services", "get apiservices").like("^v1.apps +Local +True +"),
        using("flow control", "get flowschemas,prioritylevelconfigurations").like("flowschema.flowcontrol.apiserver.k8s.io/catch-all +catch-all +10000 +ByUser "),
        using("addresses", "get ipaddresses,servicecidrs").like(r"^ipaddress.networking.k8s.io/10\.96\.0\.1 +services/default/kubernetes$").like(r"^servicecidr.networking.k8s.io/kubernetes +10\.96\.0\.0/16 "),
        using("the server's own service", "get services,endpoints,endpointslices -n default").like(r"^service/kubernetes +ClusterIP +10\.96\.0\.1 ").like("^endpoints/kubernetes +").like("^endpointslice.discovery.k8s.io/kubernetes +IPv4 "),
    ]
}

/// Every kind that discovery lists is explained, to its last field.
fn explain(ground: &Ground) -> LocalBoxFuture<'_, Result<(), Broken>> {
    async move {
        let table = ground.run("api-resources --no-headers", None).await?;
        // NAME, at times SHORTNAMES, APIVERSION, NAMESPACED, KIND. Those of other groups of this story come and go.
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        let rows: Vec<_> = rows.iter().filter(|row| row.len() >= 4 && !row[row.len() - 3].contains(".example/")).collect();
        ensure(rows.len() >= KINDS, || format!("discovery lists {} kinds", rows.len()))?;
        let (fields, kinds) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let wrong: Vec<Result<(), Broken>> = futures::stream::iter(&rows)
            .map(async |row| {
                let (name, api_version, kind) = (row[0], row[row.len() - 3], row[row.len() - 1]);
                let said = ground.run(&format!("explain {name} --recursive --api-version={api_version}"), None).await?;
                let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
                let head = match group {
                    "" => format!("KIND:       {kind}\nVERSION:    {version}\n"),
                    group => format!("GROUP:      {group}\nKIND:       {kind}\nVERSION:    {version}\n"),
                };
                ensure(said.starts_with(&ground.expected(&head)) && said.contains("\nFIELDS:\n"), || format!("explain {name}: {said}"))?;
                ensure(said.contains("\n  apiVersion\t<string>\n") && said.contains("\n  kind\t<string>\n"), || {
                    format!("explain {name}: {said}")
                })?;
                // Name and type of a field are told apart by a tab.
                fields.fetch_add(said.lines().filter(|line| line.starts_with("  ") && line.contains('\t')).count(), Ordering::Relaxed);
                kinds.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
            .buffer_unordered(2)
            .collect()
            .await;
        wrong.into_iter().collect::<Result<(), Broken>>()?;
        let (fields, kinds) = (fields.into_inner(), kinds.into_inner());
        println!("     {kinds} kinds with {fields} fields explained");
        ensure(fields > 10_000, || format!("only {fields} fields"))
    }
    .boxed_local()
}
