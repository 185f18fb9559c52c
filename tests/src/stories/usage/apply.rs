//! `apply` in its kinds, `diff`, pruning, kustomize.

use super::one_use::{Use, using};

fn app(replicas: u32, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: app, labels: {{app: app}}}}\nspec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: app}}}}\n  \
         template:\n    metadata: {{labels: {{app: app}}}}\n    spec: {{containers: [{{name: main, image: \"{image}\"}}]}}\n"
    )
}

/// Config maps of these names, with a label by which they are pruned.
fn maps(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{set: '{}'}}}}\n---\n", &name[..1]))
        .collect()
}

pub(super) fn uses() -> Vec<Use> {
    let mut all = client_side();
    all.extend(server_side());
    all.extend(pruning());
    all.extend(kustomize());
    all
}

fn client_side() -> Vec<Use> {
    vec![
        using("apply, twice", "apply -f app.yaml")
            .file("app.yaml", app(0, "registry.example/app:1"))
            .is("deployment.apps/app created")
            .then("apply -f app.yaml")
            .is("deployment.apps/app unchanged"),
        using("diff", "diff -f next.yaml")
            .file("next.yaml", app(0, "registry.example/app:2"))
            .code(1)
            .like(r"^-      - image: registry\.example/app:1$")
            .like(r"^\+      - image: registry\.example/app:2$")
            .like(r"^-  generation: 1$")
            .then("diff -f app.yaml")
            .code(0)
            .is(""),
        using("diff on the server side", "diff --server-side --force-conflicts -f next.yaml").code(1).like(r"^\+      - image: registry\.example/app:2$"),
        using("apply of a change keeps what others set", "label deployment app owner=someone")
            .says("labeled")
            .then("apply -f next.yaml")
            .is("deployment.apps/app configured")
            .then("get deployment app -o 'jsonpath={.metadata.labels.owner} {.spec.template.spec.containers[0].image}'")
            .is("someone registry.example/app:2"),
        using("apply takes away what was applied before", "apply -f -")
            .input("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: keys}\ndata: {a: '1', b: '2'}\n")
            .is("configmap/keys created")
            .then("apply -f -")
            .input("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: keys}\ndata: {b: '2'}\n")
            .is("configmap/keys configured")
            .then("get configmap keys -o 'jsonpath={.data}'")
            .is(r#"{"b":"2"}"#),
        using("apply --dry-run=server", "apply -f app.yaml --dry-run=server")
            .is("deployment.apps/app configured (server dry run)")
            .then("get deployment app -o 'jsonpath={.spec.template.spec.containers[0].image}'")
            .is("registry.example/app:2"),
        using("apply of a folder", "apply -R -f folder")
            .file("folder/one.yaml", maps(&["x1"]))
            .file("folder/below/two.json", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x2"}}"#)
            .says("configmap/x1 created")
            .says("configmap/x2 created"),
        using("apply of a list", "apply -f -")
            .input("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: x3}}\n- {apiVersion: v1, kind: Secret, metadata: {name: x4}}\n")
            .is("configmap/x3 created\nsecret/x4 created"),
        using("what was applied last", "apply view-last-applied deployment/app -o yaml").says("image: registry.example/app:2"),
        using("another last applied", "apply set-last-applied -f app.yaml")
            .is("deployment.apps/app configured")
            .then("apply edit-last-applied deployment/app")
            .editor("sed -i s/app:1/app:7/")
            .is("deployment.apps/app edited")
            .then("apply view-last-applied deployment/app")
            .says("app:7"),
        using("apply of what was made without it", "create configmap made --from-literal=a=1")
            .says("created")
            .then("apply -f -")
            .input("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: made}\ndata: {a: '2'}\n")
            .warns("Warning: resource configmaps/made is missing the kubectl.kubernetes.io/last-applied-configuration annotation"),
        using("apply of an immutable field", "apply -f -")
            .input(app(0, "registry.example/app:1").replace("app: app", "app: other"))
            .refused("The Deployment \"app\" is invalid: spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"other\"}}: field is immutable"),
    ]
}

fn server_side() -> Vec<Use> {
    vec![
        using("server-side apply", "apply --server-side --field-manager=first -f sided.yaml")
            .file("sided.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: sided}\ndata: {a: '1', b: '2'}\n")
            .is("configmap/sided serverside-applied"),
        using("a conflict", "apply --server-side --field-manager=second -f other.yaml")
            .file("other.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: sided}\ndata: {a: '9'}\n")
            .refused("error: Apply failed with 1 conflict: conflict with \"first\": .data.a"),
        using("by force", "apply --server-side --field-manager=second --force-conflicts -f other.yaml")
            .is("configmap/sided serverside-applied")
            .then("get configmap sided -o 'jsonpath={.data.a} {.metadata.managedFields[*].manager}'")
            .is("9 first second"),
        using("a field that its only owner leaves out goes", "apply --server-side --field-manager=first -f less.yaml")
            .file("less.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: sided}\ndata: {}\n")
            .says("serverside-applied")
            .then("get configmap sided -o 'jsonpath={.data}'")
            .is(r#"{"a":"9"}"#),
        using("from client side to server side", "apply --server-side -f app.yaml --force-conflicts")
            .is("deployment.apps/app serverside-applied")
            .then("get deployment app --show-managed-fields -o 'jsonpath={range .metadata.managedFields[*]}{.manager}/{.operation} {end}'")
            .says("kubectl/Apply "),
    ]
}

fn pruning() -> Vec<Use> {
    vec![
        using("prune", "apply --prune -l set=p --prune-allowlist=core/v1/ConfigMap -f two.yaml")
            .file("two.yaml", maps(&["p1", "p2"]))
            .is("configmap/p1 created\nconfigmap/p2 created")
            .then("apply --prune -l set=p --prune-allowlist=core/v1/ConfigMap -f one.yaml")
            .file("one.yaml", maps(&["p1"]))
            .is("configmap/p1 unchanged\nconfigmap/p2 pruned"),
        using("prune, all kinds, dry", "apply --prune -l set=p --dry-run=server -f -")
            .input(maps(&["p3"]))
            .says("configmap/p3 created (server dry run)")
            .says("configmap/p1 pruned (server dry run)"),
        using("an apply set", "apply --prune --applyset=fleet -f -")
            .input(maps(&["q1", "q2"]))
            .env("KUBECTL_APPLYSET", "true")
            .is("configmap/q1 created\nconfigmap/q2 created")
            .then("get secret fleet -o 'jsonpath={.metadata.annotations}'")
            .says("\"applyset.kubernetes.io/contains-group-kinds\":\"ConfigMap\"")
            .then("apply --prune --applyset=fleet -f -")
            .input(maps(&["q1"]))
            .env("KUBECTL_APPLYSET", "true")
            .is("configmap/q1 unchanged\nconfigmap/q2 pruned"),
    ]
}

fn kustomize() -> Vec<Use> {
    const OVERLAY: &str = "\
namePrefix: k-
commonAnnotations: {made: by-kustomize}
resources: [map.yaml]
configMapGenerator:
- name: made
  literals: [a=1]
patches:
- target: {kind: ConfigMap, name: map}
  patch: |-
    - {op: replace, path: /data/a, value: '2'}
";
    vec![
        using("kustomize", "kustomize overlay")
            .file("overlay/kustomization.yaml", OVERLAY)
            .file("overlay/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {a: '1'}\n")
            .says("name: k-map")
            .like("^  name: k-made-[a-z0-9]{10}$"),
        using("apply -k", "apply -k overlay")
            .like("^configmap/k-made-[a-z0-9]{10} created$")
            .like("^configmap/k-map created$")
            .then("get configmap k-map -o 'jsonpath={.data.a} {.metadata.annotations.made}'")
            .is("2 by-kustomize"),
        using("get, diff and delete -k", "get -k overlay -o name")
            .says("configmap/k-map")
            .then("diff -k overlay")
            .is("")
            .then("delete -k overlay")
            .says("configmap \"k-map\" deleted from {ns} namespace"),
    ]
}
