//! Nodes, and what needs a process on one: `cordon`, `drain`, `taint`, `top`, `logs`, `exec` and the like.

use super::one_use::{Use, using};

/// Why some uses are told on the local control plane only.
const KUBELET: &str = "an API server alone has no kubelet to ask";
const NODE: &str = "the node of a real cluster is not ours to look into";

pub(super) fn uses() -> Vec<Use> {
    let mut all = people();
    all.extend(processes());
    all
}

fn people() -> Vec<Use> {
    vec![
        using("nodes", "get nodes").soon().like("^NAME +STATUS +ROLES +AGE +VERSION$").like("^node-3 +"),
        using("nodes, wide", "get nodes -o wide").like(r"^node-1 +Ready +<none> +\S+ +v1\.36\.\d+ +192\.168\.0\.11 +").local(NODE),
        using("describe node", "describe node node-1")
            .like("^Taints: +")
            .like("^  Ready +True +")
            .like("^  Namespace +Name +CPU Requests")
            .local(NODE),
        using("top", "top nodes").refused("error: Metrics API not available").then("top pods").refused("error: Metrics API not available"),
        using("taint", "taint node node-2 {ns}=a:PreferNoSchedule")
            .soon()
            .is("node/node-2 tainted")
            .then("taint node node-2 {ns}=b:PreferNoSchedule")
            .refused("error: node node-2 already has {ns} taint(s) with same effect(s) and --overwrite is false")
            .then("taint node node-2 {ns}=b:PreferNoSchedule --overwrite")
            .is("node/node-2 modified")
            .then("get node node-2 -o 'jsonpath={.spec.taints[?(@.key==\"{ns}\")].value}'")
            .is("b")
            .then("taint node node-2 {ns}-")
            .is("node/node-2 untainted"),
        using("cordon", "cordon node-3")
            .soon()
            .is("node/node-3 cordoned")
            .then("cordon node-3")
            .is("node/node-3 already cordoned")
            .then("get node node-3")
            .like("^node-3 +[A-Za-z]+,SchedulingDisabled "),
        using("uncordon", "uncordon node-3").is("node/node-3 uncordoned").then("get node node-3").lacks("SchedulingDisabled"),
        using(
            "drain",
            "run drained --image=registry.example/app:1 --labels=app=drained --overrides='{\"spec\":{\"nodeName\":\"node-3\"}}'",
        )
        .is("pod/drained created")
        .then("wait --for=condition=Ready pod/drained --timeout=20s")
        .is("pod/drained condition met")
        .then("drain node-3 --pod-selector=app=drained --dry-run=server --force")
        .says("node/node-3 cordoned (server dry run)")
        .then("drain node-3 --pod-selector=app=drained")
        .refused("cannot delete Pods that declare no controller (use --force to override): {ns}/drained")
        .then("drain node-3 --pod-selector=app=drained --force --ignore-daemonsets --timeout=60s")
        .says("evicting pod {ns}/drained")
        .says("node/node-3 drained")
        .then("get pod drained")
        .refused("Error from server (NotFound): pods \"drained\" not found")
        .then("uncordon node-3")
        .is("node/node-3 uncordoned"),
        using("drain of a node that is not there", "drain node-nowhere")
            .refused("Error from server (NotFound): nodes \"node-nowhere\" not found"),
    ]
}

fn processes() -> Vec<Use> {
    const LOG: &str = "pod two runs on a simulated node: there is no process behind this log";
    const NO: &str = "is not available: the nodes of this control plane are simulated";
    vec![
        using("two containers", "apply -f two.yaml")
            .file("two.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: two, labels: {app: two}}\nspec: {containers: [{name: main, image: 'registry.example/app:1'}, {name: side, image: 'registry.example/side:1'}]}\n")
            .is("pod/two created")
            .then("wait --for=condition=Ready pod/two --timeout=20s")
            .is("pod/two condition met")
            .then("get pod two")
            .like("^two +[02]/2 +Running +"),
        using("logs", "logs two").is(LOG).warns("Defaulted container \"main\" out of: main, side").local(KUBELET),
        using("logs of a container", "logs two -c side --tail=1").is(LOG).local(KUBELET),
        using("logs with a time", "logs two -c side --timestamps").like(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*Z pod two runs").local(KUBELET),
        using("logs by label, with their source", "logs -l app=two --all-containers --prefix")
            .says("[pod/two/main] pod two runs")
            .says("[pod/two/side] pod two runs")
            .local(KUBELET),
        using("the beginning of logs, and none", "logs two -c side --limit-bytes=7")
            .is("pod two")
            .then("logs two -c side --tail=0")
            .is("")
            .local(KUBELET),
        using("logs of an earlier life", "logs two -c side --previous").refused("previous terminated container \"side\" in pod \"two\" not found").local(KUBELET),
        using("logs of a container that is none", "logs two -c other").refused("error: container other is not valid for pod two out of: main, side"),
        using("logs of a container that waits", "run stuck --image=registry.invalid/app:1")
            .is("pod/stuck created")
            .then("get pod stuck")
            .soon()
            .like("^stuck +0/1 +ImagePullBackOff ")
            .then("logs stuck")
            .refused("container \"stuck\" in pod \"stuck\" is waiting to start: trying and failing to pull image")
            .local(KUBELET),
        using("exec", "exec two -c main -- date").refused(format!("exec {NO}")).local(KUBELET),
        using("exec in what is not there", "exec nothing -- date").refused("Error from server (NotFound): pods \"nothing\" not found"),
        using("attach", "attach two -c main").refused(format!("attach {NO}")).local(KUBELET),
        using("port-forward", "port-forward pod/two :80").refused(format!("portforward {NO}")).local(KUBELET),
        using("cp", "cp local.txt two:/srv/remote.txt -c main").file("local.txt", "text").refused(format!("exec {NO}")).local(KUBELET),
        using("debug with a container beside", "debug two --image=registry.example/tools:1 --container=look --target=main --profile=general")
            .says("Targeting container \"main\".")
            .then("get pod two -o 'jsonpath={.spec.ephemeralContainers[0].name} {.spec.ephemeralContainers[0].targetContainerName}'")
            .is("look main"),
        using("the container beside runs", "get pod two -o 'jsonpath={.status.ephemeralContainerStatuses[0].name} {.status.ephemeralContainerStatuses[0].state.running.startedAt}'")
            .soon()
            .like("^look 20")
            .local(KUBELET),
        using("debug with a copy", "debug two --image=registry.example/tools:1 --copy-to=copy --set-image=main=registry.example/app:2 --container=look --profile=general")
            .is("")
            .then("get pod copy -o 'jsonpath={.spec.containers[*].name} {.spec.containers[0].image}'")
            .is("main side look registry.example/app:2"),
        using("debug of a node", "debug node/node-1 --image=registry.example/tools:1 --profile=general")
            .like("^Creating debugging pod node-debugger-node-1-[a-z0-9]{5} with container debugger on node node-1.$"),
        using("a pod's proxy", "get --raw /api/v1/namespaces/{ns}/pods/two/proxy/").refused(format!("proxy {NO}")).local(KUBELET),
    ]
}
