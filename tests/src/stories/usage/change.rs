//! Changing what is there: `edit`, `patch`, `replace`, `label`, `annotate`, `set`, `scale`.

use super::one_use::{Use, using};

const APP: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, labels: {app: app}}
spec:
  replicas: 0
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: main, image: 'registry.example/app:1', env: [{name: KEEP, value: 'yes'}]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: map}
data: {a: '1', b: '2'}
";

const CONTAINERS: &str = "get deployment app -o 'jsonpath={range .spec.template.spec.containers[*]}{.name}={.image} {end}'";

pub(super) fn uses() -> Vec<Use> {
    let mut all = patches();
    all.extend(edits());
    all.extend(sets());
    all.extend(labels());
    all
}

fn patches() -> Vec<Use> {
    vec![
        using("a strategic patch merges lists by key", "create -f app.yaml")
            .file("app.yaml", APP)
            .says("deployment.apps/app created")
            .then("patch deployment app -p '{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"side\",\"image\":\"registry.example/side:1\"}]}}}}'")
            .is("deployment.apps/app patched")
            .then(CONTAINERS)
            .is("side=registry.example/side:1 main=registry.example/app:1"),
        using("a strategic patch with a directive", "patch deployment app -p '{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"$patch\":\"delete\",\"name\":\"side\"}]}}}}'")
            .is("deployment.apps/app patched")
            .then(CONTAINERS)
            .is("main=registry.example/app:1"),
        using("a merge patch replaces lists", "patch deployment app --type=merge -p '{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"main\",\"image\":\"registry.example/app:2\"}]}}}}'")
            .is("deployment.apps/app patched")
            .then("get deployment app -o 'jsonpath={.spec.template.spec.containers[0].image} {.spec.template.spec.containers[0].env}'")
            .is("registry.example/app:2"),
        using("a merge patch with null", "patch configmap map --type=merge -p '{\"data\":{\"b\":null}}'")
            .is("configmap/map patched")
            .then("get configmap map -o 'jsonpath={.data}'")
            .is(r#"{"a":"1"}"#),
        using("a JSON patch", "patch configmap map --type=json -p '[{\"op\":\"test\",\"path\":\"/data/a\",\"value\":\"1\"},{\"op\":\"add\",\"path\":\"/data/c\",\"value\":\"3\"}]'")
            .is("configmap/map patched")
            .then("get configmap map -o 'jsonpath={.data}'")
            .is(r#"{"a":"1","c":"3"}"#),
        using("a JSON patch whose test fails", "patch configmap map --type=json -p '[{\"op\":\"test\",\"path\":\"/data/a\",\"value\":\"2\"}]'")
            .refused("The request is invalid: the server rejected our request due to an error in our request"),
        using("a patch from a file", "patch configmap map --patch-file=patch.yaml")
            .file("patch.yaml", "data: {d: '4'}\n")
            .is("configmap/map patched"),
        using("a patch that changes nothing", "patch configmap map -p '{\"data\":{\"d\":\"4\"}}'").is("configmap/map patched (no change)"),
        using("a patch on the server, dry", "patch configmap map -p '{\"data\":{\"d\":\"5\"}}' --dry-run=server -o 'jsonpath={.data.d}'")
            .is("5")
            .then("get configmap map -o 'jsonpath={.data.d}'")
            .is("4"),
        using("a patch of a file, here", "patch -f one.yaml --local -p '{\"data\":{\"e\":\"5\"}}' -o 'jsonpath={.data}'")
            .file("one.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: local}\ndata: {a: '1'}\n")
            .is(r#"{"a":"1","e":"5"}"#),
        using("a patch of the scale", "patch deployment app --subresource=scale --type=merge -p '{\"spec\":{\"replicas\":1}}'")
            .is("scale.autoscaling/app patched")
            .then("get deployment app -o 'jsonpath={.spec.replicas}'")
            .is("1"),
        using("a patch of the status", "create quota held --hard=pods=5")
            .says("created")
            .then("patch quota held --subresource=status --type=merge -p '{\"status\":{\"used\":{\"pods\":\"2\"}}}'")
            .is("resourcequota/held patched")
            .then("get quota held --subresource=status -o 'jsonpath={.status.used.pods}'")
            .is("2")
            .then("delete quota held")
            .says("deleted"),
        using("a patch with a text where a number belongs", "patch deployment app -p '{\"spec\":{\"replicas\":\"two\"}}'")
            .refused("The request is invalid: patch: Invalid value: \"map[spec:map[replicas:two]]\": unrecognized type: int32"),
    ]
}

fn edits() -> Vec<Use> {
    vec![
        using("edit", "edit deployment app")
            .editor("sed -i s/app:2/app:3/")
            .is("deployment.apps/app edited")
            .then(CONTAINERS)
            .is("main=registry.example/app:3"),
        using("edit as JSON", "edit configmap map -o json").editor(r#"sed -i 's/"d": "4"/"d": "44"/'"#).says("\"d\": \"44\""),
        using("edit of the status", "create quota edited --hard=pods=5")
            .says("created")
            .then("edit quota edited --subresource=status")
            .editor(r#"sed -i '$astatus: {used: {pods: "3"}}'"#)
            .is("resourcequota/edited edited")
            .then("get quota edited -o 'jsonpath={.status.used.pods}'")
            .is("3")
            .then("delete quota edited")
            .says("deleted"),
        using("edit that changes nothing", "edit configmap map").editor("true").warns("Edit cancelled, no changes made."),
        using("edit into something wrong", "edit deployment app")
            .editor("sed -i 's/  replicas: .*/  replicas: -1/'")
            .code(1)
            .warns("error: Edit cancelled, no valid changes were saved."),
        using("replace", "replace -f next.yaml")
            .file("next.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {z: '26'}\n")
            .is("configmap/map replaced")
            .then("get configmap map -o 'jsonpath={.data}'")
            .is(r#"{"z":"26"}"#),
        using("replace of what is not there", "replace -f none.yaml")
            .file("none.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: none}\n")
            .refused(r#"Error from server (NotFound): error when replacing "none.yaml": configmaps "none" not found"#),
        using("replace of an older version", "replace -f stale.yaml")
            .file("stale.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map, resourceVersion: '1'}\n")
            .refused(r#"Operation cannot be fulfilled on configmaps "map": the object has been modified; please apply your changes to the latest version and try again"#),
        using("replace --force", "create service clusterip fixed --tcp=80")
            .says("created")
            .then("replace --force -f fixed.yaml")
            .file("fixed.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: fixed}\nspec: {clusterIP: None, selector: {a: b}}\n")
            .is("service \"fixed\" deleted from {ns} namespace\nservice/fixed replaced")
            .then("get service fixed -o 'jsonpath={.spec.clusterIP}'")
            .is("None"),
    ]
}

fn sets() -> Vec<Use> {
    vec![
        using("set image", "set image deployment/app main=registry.example/app:4")
            .is("deployment.apps/app image updated")
            .then("set image deployment/app other=registry.example/app:4")
            .refused("error: unable to find container named \"other\""),
        using("set env", "set env deployment/app A=1 B=2")
            .is("deployment.apps/app env updated")
            .then("set env deployment/app A- --from=configmap/map --prefix=MAP_")
            .says("deployment.apps/app env updated")
            .then("set env deployment/app --list --resolve")
            .says("B=2")
            .says("MAP_Z=26")
            .lacks("A=1"),
        using("set resources", "set resources deployment/app --limits=cpu=200m,memory=64Mi --requests=cpu=100m")
            .is("deployment.apps/app resource requirements updated")
            .then("get deployment app -o 'jsonpath={.spec.template.spec.containers[0].resources}'")
            .is(r#"{"limits":{"cpu":"200m","memory":"64Mi"},"requests":{"cpu":"100m"}}"#),
        using("set selector", "set selector service/fixed app=app")
            .is("service/fixed selector updated")
            .then("get service fixed -o 'jsonpath={.spec.selector}'")
            .is(r#"{"app":"app"}"#),
        using("set serviceaccount", "set serviceaccount deployment/app robot")
            .is("deployment.apps/app serviceaccount updated")
            .then("get deployment app -o 'jsonpath={.spec.template.spec.serviceAccountName}'")
            .is("robot"),
        using("set subject", "create rolebinding viewers --clusterrole=view --user=ann")
            .says("created")
            .then("set subject rolebinding/viewers --user=bob --group=crew")
            .is("rolebinding.rbac.authorization.k8s.io/viewers subjects updated")
            .then("get rolebinding viewers -o 'jsonpath={.subjects[*].name}'")
            .is("ann bob crew"),
        using("scale", "scale deployment/app --replicas=3")
            .is("deployment.apps/app scaled")
            .then("get deployment app -o 'jsonpath={.spec.replicas}'")
            .is("3"),
        using("scale with preconditions", "scale deployment/app --current-replicas=9 --replicas=0")
            .refused("error: Expected replicas to be 9, was 3")
            .then("scale deployment/app --resource-version=1 --replicas=0")
            .refused("error: Expected resource version to be 1, was ")
            .then("scale deployment/app --current-replicas=3 --replicas=0")
            .is("deployment.apps/app scaled"),
        using("scale of what has none", "scale configmap/map --replicas=1").refused("the server could not find the requested resource"),
    ]
}

fn labels() -> Vec<Use> {
    vec![
        using("label", "label configmap map colour=red")
            .is("configmap/map labeled")
            .then("get configmaps -l colour=red -o name")
            .is("configmap/map"),
        using("label without --overwrite", "label configmap map colour=blue")
            .refused("error: 'colour' already has a value (red), and --overwrite is false"),
        using("label with --overwrite", "label configmap map colour=blue --overwrite")
            .is("configmap/map labeled")
            .then("label configmap map --list")
            .is("colour=blue"),
        using("label taken away", "label configmap map colour-")
            .is("configmap/map unlabeled")
            .then("label configmap map colour-")
            .says("label \"colour\" not found."),
        using("label of all", "label configmaps --all story=yes").says("configmap/map labeled"),
        using("a label that is none", "label configmap map 'colour=not a label'")
            .refused("a valid label must be an empty string or consist of alphanumeric characters"),
        using("annotate", "annotate configmap map note='two words'")
            .is("configmap/map annotated")
            .then("annotate configmap map note=other")
            .refused("error: --overwrite is false but found the following declared annotation(s): 'note' already has a value (two words)")
            .then("annotate configmap map note=other --overwrite")
            .is("configmap/map annotated")
            .then("annotate configmap map --list")
            .says("note=other")
            .then("annotate configmap map note-")
            .is("configmap/map annotated"),
    ]
}
