//! `get`: forms of output, selectors, order, watches.

use std::process::Stdio;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::ground::Ground;
use super::one_use::{Use, own, using};
use crate::recorded::Broken;
use crate::stories::wait::ensure;

/// Three config maps and a secret to look at.
const MAPS: &str = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: b, labels: {kind: even, shape: round}}
data: {size: '2'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: {kind: odd}}
data: {size: '3'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, labels: {kind: odd, shape: flat}}
data: {size: '1', more: x}
---
apiVersion: v1
kind: Secret
metadata: {name: s, labels: {kind: odd}}
stringData: {k: v}
";

pub(super) fn uses() -> Vec<Use> {
    vec![
        using("nothing", "get deployments").is("").warns("No resources found in {ns} namespace."),
        using("several objects at once", "create -f maps.yaml")
            .file("maps.yaml", MAPS)
            .is("configmap/b created\nconfigmap/a created\nconfigmap/c created\nsecret/s created"),
        using("a table", "get configmaps").like("^NAME +DATA +AGE$").like("^c +2 +").lines(4),
        using("without its head", "get configmaps --no-headers").lines(3).lacks("NAME"),
        using("wide, with the kind", "get services,configmaps -o wide --show-kind").like("^configmap/a +1 "),
        using("of all namespaces", "get namespaces default -o name").is("namespace/default").then("get configmaps -A").like("^{ns} +a +1 "),
        using("YAML", "get configmap a -o yaml").says("apiVersion: v1\ndata:\n  size: \"3\"\nkind: ConfigMap\n").lacks("managedFields"),
        using("YAML as Kubernetes' own dialect", "get configmap a -o kyaml").says("  data: {\n    size: \"3\",\n  },"),
        using("JSON", "get configmap a -o json").says("    \"data\": {\n        \"size\": \"3\"\n    },"),
        using("with field managers", "get configmap a -o yaml --show-managed-fields").says("  managedFields:\n").says("manager: kubectl-create"),
        using("names", "get configmaps,secrets -l kind=odd -o name").is("configmap/a\nconfigmap/c\nsecret/s"),
        using("a JSON path", "get configmaps -o 'jsonpath={range .items[*]}{.metadata.name}={.data.size};{end}'").is("a=3;b=2;c=1;"),
        using("a filter in a JSON path", "get configmaps -o 'jsonpath={.items[?(@.data.size==\"2\")].metadata.name}'").is("b"),
        using("a JSON path as JSON", "get configmaps -o 'jsonpath-as-json={.items[*].data.size}'").is("[\n    \"3\",\n    \"2\",\n    \"1\"\n]"),
        using("a template", "get configmap c -o 'go-template={{range $k, $v := .data}}{{$k}}:{{$v}} {{end}}'").is("more:x size:1"),
        using("columns of one's own", "get configmaps -o custom-columns=NAME:.metadata.name,SIZE:.data.size,MORE:.data.more")
            .is("NAME   SIZE   MORE\na      3      <none>\nb      2      <none>\nc      1      x"),
        using("columns from a file", "get configmaps -o custom-columns-file=columns.txt --no-headers")
            .file("columns.txt", "NAME SIZE\n.metadata.name .data.size\n")
            .like("^a +3$"),
        using("in order of a field", "get configmaps --sort-by=.data.size -o name").is("configmap/c\nconfigmap/b\nconfigmap/a"),
        using("a table in order of age", "get configmaps --sort-by=.metadata.creationTimestamp").lines(4),
        using("by label", "get configmaps -l 'kind in (odd),shape' -o name").is("configmap/c"),
        using("by what a label is not", "get configmaps -l 'kind notin (odd),!nothing' -o name").is("configmap/b"),
        using("labels as columns", "get configmaps -L shape").like("^NAME +DATA +AGE +SHAPE$").like("^c +2 +[0-9a-z]+ +flat$"),
        using("all labels", "get configmap b --show-labels").like(" kind=even,shape=round$"),
        using("by field", "get configmaps --field-selector metadata.name!=a -o name").is("configmap/b\nconfigmap/c"),
        using("by a field that is none", "get configmaps --field-selector data.size=1")
            .refused(r#"Error from server (BadRequest): Unable to find "/v1, Resource=configmaps" that match label selector "", field selector "data.size=1": "data.size" is not a known field selector: only "metadata.name", "metadata.namespace""#),
        using("in small pages", "get configmaps --chunk-size=1 -o name").lines(3),
        using("one of two", "get configmap a nothing").like("^a +1 ").refused(r#"Error from server (NotFound): configmaps "nothing" not found"#),
        using("what may be missing", "get configmap nothing --ignore-not-found")
            .is("")
            .then("get configmap a nothing --ignore-not-found -o name")
            .is("configmap/a"),
        using("from a file", "get -f maps.yaml -o name").is("configmap/b\nconfigmap/a\nconfigmap/c\nsecret/s"),
        using("a subresource", "create deployment sized --image=registry.example/app:1 --replicas=3")
            .says("created")
            .then("get deployment sized --subresource=scale")
            .like("^NAME +DESIRED +AVAILABLE +AGE$")
            .like("^sized +3 "),
        using("a version of a group", "get deployments.v1.apps -o name").is("deployment.apps/sized"),
        using("everything", "get all").like("^deployment.apps/sized "),
        own("get -w", watch),
        using("a watch with what happens", "get configmaps --watch --output-watch-events --request-timeout=1s")
            .like("^EVENT +NAME +DATA +AGE$")
            .like("^ADDED +a +1 "),
        using("raw", "get --raw /api/v1/namespaces/{ns}/configmaps/a").says(r#""data":{"size":"3"}"#),
    ]
}

/// A watch shows what is there, and then each change.
fn watch(ground: &Ground) -> LocalBoxFuture<'_, Result<(), Broken>> {
    async move {
        let mut command = ground.command("get configmaps --watch -o 'jsonpath={.metadata.name}:{.data.size}{\"\\n\"}'")?;
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| Broken(error.to_string()))?;
        let mut lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        let mut next = async || {
            let line = tokio::time::timeout(Duration::from_secs(10), lines.next_line())
                .await
                .map_err(|_| Broken("the watch says nothing".into()))?;
            Ok::<String, Broken>(line.map_err(|error| Broken(error.to_string()))?.unwrap_or_default())
        };
        let mut told = vec![next().await?, next().await?, next().await?];
        told.sort();
        let first = ["a:3", "b:2", "c:1"].map(|line| ground.expected(line));
        ensure(told == first, || format!("the watch begins with {told:?}"))?;
        ground.run("patch configmap a --type=merge -p '{\"data\":{\"size\":\"9\"}}'", None).await?;
        let line = next().await?;
        ensure(line == "a:9", || format!("after the change the watch says {line}"))?;
        ground.run("patch configmap a --type=merge -p '{\"data\":{\"size\":\"3\"}}'", None).await?;
        Ok(())
    }
    .boxed_local()
}
