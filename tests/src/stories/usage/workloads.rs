//! What runs: `run`, `expose`, `autoscale`, `rollout`, `wait`, `events`, and `delete` in its cascades.

use super::one_use::{Use, using};

/// Why some uses are told on the local control plane only.
const EVENTS: &str = "events of a scheduler and a kubelet";

pub(super) fn uses() -> Vec<Use> {
    let mut all = running();
    all.extend(rollouts());
    all.extend(waiting());
    all.extend(deleting());
    all
}

fn running() -> Vec<Use> {
    vec![
        using("run", "run one --image=registry.example/app:1 --labels=app=one --env=A=B --port=80")
            .is("pod/one created")
            .then("wait --for=condition=Ready pod/one --timeout=20s")
            .is("pod/one condition met")
            .then("get pod one")
            .like("^one +[01]/1 +Running +0 "),
        using("run with a command", "run task --image=registry.example/app:1 --restart=Never --command -- sleep 0.1")
            .is("pod/task created")
            .then("get pod task -o 'jsonpath={.spec.restartPolicy} {.spec.containers[0].command}'")
            .is(r#"Never ["sleep","0.1"]"#),
        using("a pod that has ended", "get pod task").soon().like("^task +0/1 +Completed +0 ").local(EVENTS),
        using("run as a manifest", "run paper --image=registry.example/app:1 --dry-run=client -o yaml")
            .says("  - image: registry.example/app:1\n    name: paper\n"),
        using("expose a pod", "expose pod one --name=door")
            .is("service/door exposed")
            .then("get service door -o 'jsonpath={.spec.selector} {.spec.ports[0].port}'")
            .is(r#"{"app":"one"} 80"#),
        using("a Deployment that runs", "create deployment web --image=registry.example/web:1 --replicas=2 --port=8080")
            .says("created")
            .then("rollout status deployment/web --timeout=30s")
            .says("deployment \"web\" successfully rolled out")
            .then("get deployment web")
            .like("^web +2/2 +2 +2 "),
        using("expose", "expose deployment web --port=80 --target-port=8080 --type=NodePort")
            .is("service/web exposed")
            .then("get service web")
            .like(r"^web +NodePort +10\.\S+ +<none> +80:3\d{4}/TCP "),
        using("autoscale", "autoscale deployment web --min=1 --max=3 --cpu=50%")
            .is("horizontalpodautoscaler.autoscaling/web autoscaled")
            .then("get hpa web")
            .like("^web +Deployment/web +cpu: <unknown>/50% +1 +3 +0 ")
            .then("autoscale deployment web --min=3 --max=1 --name=wrong")
            .refused("error: --max=MAXPODS must be larger or equal to --min=MINPODS, max: 1, min: 3")
            .then("delete hpa web")
            .says("deleted"),
        using("what belongs together", "get deployments,replicasets,pods -l app=web")
            .like("^replicaset.apps/web-[a-z0-9]+ +2 +2 +2 ")
            .like("^pod/web-[a-z0-9]+-[a-z0-9]{5} +"),
        using("describe deployment", "describe deployment web")
            .like("^Replicas: +2 desired \\| 2 updated \\| 2 total \\| 2 available \\| 0 unavailable$")
            .like("^NewReplicaSet: +web-[a-z0-9]+ \\(2/2 replicas created\\)$")
            .like("^  Normal  ScalingReplicaSet .*Scaled up replica set web-[a-z0-9]+ from 0 to 2$"),
        using("describe pod", "describe pod one")
            .like(r"^Node: +node-\d/192\.168\.0\.1\d$")
            .like("^Status: +Running$")
            .like("^      A: +B$")
            .like("^  Normal  Scheduled .*Successfully assigned {ns}/one to node-")
            .local(EVENTS),
        using("events", "events --for deployment/web")
            .says("Scaled up replica set web-")
            .then("events --types=Warning --for deployment/web")
            .warns("No events found"),
        using("events in order", "get events --sort-by=.lastTimestamp")
            .like("^LAST SEEN +TYPE +REASON +OBJECT +MESSAGE$")
            .like("Normal +ScalingReplicaSet +deployment/web +Scaled up"),
    ]
}

fn rollouts() -> Vec<Use> {
    vec![
        using("rollout history", "set image deployment/web web=registry.example/web:2")
            .says("image updated")
            .then("annotate deployment web kubernetes.io/change-cause=second")
            .says("annotated")
            .then("rollout status deployment/web --timeout=30s")
            .says("successfully rolled out")
            .then("rollout history deployment/web")
            .like("^1 +<none>$")
            .like("^2 +second$")
            .then("rollout history deployment/web --revision=1")
            .says("deployment.apps/web with revision #1\nPod Template:")
            .says("registry.example/web:1"),
        using("rollout undo", "rollout undo deployment/web --dry-run=server")
            .is("deployment.apps/web rolled back (server dry run)")
            .then("rollout undo deployment/web")
            .is("deployment.apps/web rolled back")
            .then("get deployment web -o 'jsonpath={.spec.template.spec.containers[0].image}'")
            .is("registry.example/web:1")
            .then("rollout undo deployment/web --to-revision=99")
            .refused("error: unable to find specified revision 99 in history"),
        using("rollout pause and resume", "rollout pause deployment/web")
            .is("deployment.apps/web paused")
            .then("rollout restart deployment/web")
            .refused("error: deployments.apps \"web\" can't restart paused deployment (run rollout resume first)")
            .then("rollout pause deployment/web")
            .refused("error: deployments.apps \"web\" is already paused")
            .then("rollout resume deployment/web")
            .is("deployment.apps/web resumed"),
        using("rollout restart", "rollout restart deployment/web")
            .is("deployment.apps/web restarted")
            .then("rollout status deployment/web --timeout=30s")
            .says("successfully rolled out")
            .then("get deployment web -o 'jsonpath={.spec.template.metadata.annotations}'")
            .says("kubectl.kubernetes.io/restartedAt"),
        using("rollout status of what does not come", "create deployment stuck --image=registry.invalid/app:1")
            .says("created")
            .then("rollout status deployment/stuck --timeout=1s")
            .says("Waiting for deployment")
            .refused("error: timed out waiting for the condition")
            .then("delete deployment stuck")
            .says("deleted"),
        using("rollout of what has none", "rollout status configmap/kube-root-ca.crt").refused("configmaps \"kube-root-ca.crt\" not found"),
    ]
}

fn waiting() -> Vec<Use> {
    vec![
        using("wait for a condition", "wait --for=condition=Available deployment/web --timeout=20s")
            .is("deployment.apps/web condition met"),
        using("wait for a value", "wait '--for=jsonpath={.status.phase}=Running' pod/one --timeout=20s").is("pod/one condition met"),
        using("wait for a field", "wait '--for=jsonpath={.spec.nodeName}' pod/one --timeout=20s").is("pod/one condition met"),
        using("wait for what is there", "wait --for=create pod/one --timeout=5s").is("pod/one condition met"),
        using("wait for what does not come", "wait --for=create pod/nobody --timeout=1s")
            .refused("error: timed out waiting for the condition"),
        using("wait too short", "wait --for=condition=Never deployment/web --timeout=1s")
            .refused("error: timed out waiting for the condition on deployments/web"),
        using("wait by label", "wait --for=condition=Ready pod -l app=web --timeout=20s").like("^pod/web-[a-z0-9-]+ condition met$"),
        using("wait for nothing", "wait --for=condition=Ready pod -l app=nobody").refused("error: no matching resources found"),
        using("wait for the end", "delete pod one --wait=false")
            .is("pod \"one\" deleted from {ns} namespace")
            .then("wait --for=delete pod/one --timeout=30s")
            .like("^(pod/one condition met)?$")
            .then("get pod one")
            .refused("pods \"one\" not found"),
    ]
}

fn deleting() -> Vec<Use> {
    const MADE: &str = "create deployment web --image=registry.example/web:1";
    vec![
        using("delete, dry on the server", "delete deployment web --dry-run=server")
            .is("deployment.apps \"web\" deleted from {ns} namespace (server dry run)")
            .then("get deployment web -o name")
            .is("deployment.apps/web"),
        using("delete, dry here", "delete deployment web --dry-run=client")
            .is("deployment.apps \"web\" deleted from {ns} namespace (dry run)"),
        using("delete in the foreground", "delete deployment web --cascade=foreground --wait=false")
            .says("deleted")
            .then("get deployment web")
            .soon()
            .refused("deployments.apps \"web\" not found")
            .then("get replicasets,pods -l app=web -o name")
            .is(""),
        using("delete and leave what is below", format!("{MADE} --replicas=1"))
            .soon()
            .says("created")
            .then("rollout status deployment/web --timeout=30s")
            .says("rolled out")
            .then("delete deployment web --cascade=orphan")
            .says("deleted")
            .then("get replicasets -l app=web -o name")
            .like("^replicaset.apps/web-")
            .then("get replicasets -l app=web -o 'jsonpath={.items[*].metadata.ownerReferences}'")
            .is(""),
        using("delete in the background", MADE)
            .soon()
            .says("created")
            .then("delete deployment web")
            .is("deployment.apps \"web\" deleted from {ns} namespace")
            .then("get deployment web")
            .refused("deployments.apps \"web\" not found"),
        using("delete by label", format!("{MADE} --replicas=1"))
            .soon()
            .says("created")
            .then("rollout status deployment/web --timeout=30s")
            .says("rolled out")
            .then("delete deployment web --cascade=orphan")
            .says("deleted")
            .then("delete replicasets,pods -l app=web --wait=false")
            .like("^pod \"web-")
            .like("^replicaset.apps \"web-"),
        using("delete by force", "run gone --image=registry.example/app:1")
            .is("pod/gone created")
            .then("delete pod gone --force --grace-period=0")
            .is("pod \"gone\" force deleted from {ns} namespace")
            .warns("Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated.")
            .then("get pod gone")
            .refused("not found"),
        using("delete of all of a kind", "delete services --all").says("service \"door\" deleted").says("service \"web\" deleted"),
        using("delete from a file", "create configmap one --from-literal=a=1 -o yaml")
            .says("kind: ConfigMap")
            .then("delete -f -")
            .input("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n")
            .is("configmap \"one\" deleted from {ns} namespace"),
        using("delete of what is not there", "delete configmap one")
            .refused("Error from server (NotFound): configmaps \"one\" not found")
            .then("delete configmap one --ignore-not-found")
            .is(""),
        using("delete raw", "create configmap raw --from-literal=a=1")
            .says("created")
            .then("delete --raw /api/v1/namespaces/{ns}/configmaps/raw")
            .says(r#""status":"Success","details":{"name":"raw","kind":"configmaps","uid":""#),
    ]
}
