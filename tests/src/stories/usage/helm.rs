//! Helm 4 with a chart of our own: `tests/data/charts/pier`.

use super::ground::data;
use super::one_use::{Use, using};

pub(super) fn uses() -> Vec<Use> {
    let chart = data("charts/pier").to_string_lossy().into_owned();
    let upgrade = format!("helm upgrade pier {chart} --wait --timeout 40s");
    vec![
        using("lint", format!("helm lint {chart}")).says("1 chart(s) linted, 0 chart(s) failed"),
        using("template against the server", format!("helm template pier {chart} --dry-run=server --set replicas=4"))
            .says("# Source: pier/templates/deployment.yaml")
            .like("^  replicas: 4$"),
        using("install --dry-run=server", format!("helm install pier {chart} --dry-run=server"))
            .says("DESCRIPTION: Dry run complete")
            .then("get deployments")
            .warns("No resources found"),
        using("install --wait", format!("helm install pier {chart} --wait --timeout 40s"))
            .like("^STATUS: deployed$")
            .like("^REVISION: 1$")
            .says("pier says hello.")
            .then("get deployment pier")
            .like("^pier +2/2 +2 +2 ")
            .then("get configmap pier-config --show-managed-fields -o 'jsonpath={.metadata.managedFields[*].manager} {.metadata.managedFields[*].operation}'")
            .is("helm Apply"),
        using("install of what is there", format!("helm install pier {chart}")).refused("Error: INSTALLATION FAILED: release name check failed: cannot reuse a name that is still in use"),
        using("status", "helm status pier").says("==> v1/Deployment\nNAME   READY   UP-TO-DATE   AVAILABLE   AGE\npier   2/2     2            2 ").says("==> v1/Pod(related)"),
        using("list", "helm list").like("^pier\\s+{ns}\\s+1\\s+.*\\sdeployed\\s+pier-0\\.1\\.0\\s+1"),
        using("get", "helm get manifest pier")
            .says("# Source: pier/templates/service.yaml")
            .then("helm get values pier --all")
            .like("^greeting: hello$")
            .then("get secrets -l owner=helm,name=pier")
            .like("^sh.helm.release.v1.pier.v1 +helm.sh/release.v1 +1 "),
        using("upgrade with other values and a hook", format!("{upgrade} --set greeting=ahoy --set hook=true"))
            .says("Release \"pier\" has been upgraded. Happy Helming!")
            .like("^REVISION: 2$")
            .then("get configmap pier-config pier-before -o 'jsonpath={.items[*].data}'")
            .is(r#"{"greeting":"ahoy"} {"revision":"2"}"#)
            .then("rollout history deployment/pier")
            .like("^2 +<none>$"),
        using("upgrade that scales", format!("{upgrade} --reuse-values --set replicas=3"))
            .like("^REVISION: 3$")
            .then("get deployment pier")
            .like("^pier +3/3 +3 +3 "),
        using("upgrade of what another one owns", "apply --server-side --force-conflicts --field-manager=somebody -f -")
            .input("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: pier-config}\ndata: {greeting: mine}\n")
            .says("serverside-applied")
            .then(format!("{upgrade} --reuse-values --set greeting=yours"))
            .refused("conflict with \"somebody\": .data.greeting")
            .then(format!("{upgrade} --reuse-values --set greeting=yours --force-conflicts"))
            .like("^REVISION: 5$")
            .then("get configmap pier-config -o 'jsonpath={.data.greeting}'")
            .is("yours"),
        using("upgrade --wait of what does not come", format!("helm upgrade pier {chart} --set image=registry.invalid/pier --wait --timeout 2s"))
            .refused("Error: UPGRADE FAILED: resource Deployment/{ns}/pier not ready.")
            .then("helm status pier")
            .like("^STATUS: failed$"),
        using("history", "helm history pier").like("^1\\s+.*\\ssuperseded\\s+.*Install complete").like("^6\\s+.*\\sfailed\\s").like("^4\\s+.*\\sfailed\\s"),
        using("rollback", "helm rollback pier 3 --wait --timeout 40s")
            .says("Rollback was a success! Happy Helming!")
            .then("get configmap pier-config -o 'jsonpath={.data.greeting}'")
            .is("ahoy")
            .then("get deployment pier -o 'jsonpath={.spec.template.spec.containers[0].image} {.status.readyReplicas}'")
            .is("registry.example/pier:1 3"),
        using("upgrade that is rolled back when it fails", format!("helm upgrade pier {chart} --set image=registry.invalid/pier --rollback-on-failure --timeout 6s"))
            .refused("has been rolled back due to rollback-on-failure being set")
            .then("helm history pier --max 1")
            .says("Rollback to 7"),
        using("test", "helm test pier --timeout 40s").like("^TEST SUITE: +pier-reachable$").like("^Phase: +Succeeded$").local("a pod that ends needs a kubelet"),
        using("an upgrade that installs", format!("helm upgrade --install second {chart} --set replicas=0"))
            .says("Release \"second\" does not exist. Installing it now.")
            .then("helm list --short")
            .is("pier\nsecond"),
        using("uninstall, keeping the history", "helm uninstall second --keep-history --wait --timeout 40s")
            .says("release \"second\" uninstalled")
            .then("helm history second")
            .says("uninstalled")
            .then("get deployment second")
            .refused("deployments.apps \"second\" not found"),
        using("uninstall", "helm uninstall pier --wait --timeout 40s")
            .is("release \"pier\" uninstalled")
            .then("get deployments,services -l app.kubernetes.io/instance=pier")
            .warns("No resources found")
            .then("helm status pier")
            .refused("Error: release: not found"),
    ]
}
