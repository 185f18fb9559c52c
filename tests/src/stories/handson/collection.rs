//! Steps 28, 29 and 32: what goes with its owner, what stays, and a namespace with everything in it.

use std::time::Duration;

use serde_json::Value;

use super::super::kubectl::{Kubectl, condition, name};
use super::super::wait::{ensure, eventually};
use super::{Stage, deployment};
use crate::recorded::Broken;

/// Whoever would delete something wrongly does it within this time.
const AFTER_ALL: Duration = Duration::from_secs(3);

impl Stage {
    pub(super) async fn three_cascades(&mut self) -> Result<(), Broken> {
        for cascade in ["background", "orphan", "foreground"] {
            let own = format!("going-{cascade}");
            self.k.apply(&deployment(&own, 3, "registry.example/app:1", "")).await?;
            let selector = format!("app={own}");
            self.k.ready_pods(&selector, 3, self.limit).await?;
            let flag = format!("--cascade={cascade}");
            self.k.run(&["delete", "deployment", &own, &flag, "--wait=false"]).await?;
            eventually(self.limit, &format!("{own} goes"), async || self.k.refused(&["get", "deployment", &own]).await.map(|_| ())).await?;
            match cascade {
                "background" => self.gone("rs,pod", &selector).await?,
                "orphan" => self.kept_without_owner(&selector).await?,
                // Gone before the owner: whoever sees that it has gone finds nothing of it.
                _ => {
                    let left = all(&self.k, "rs,pod", &selector).await?;
                    ensure(left.is_empty(), || format!("the Deployment went before {}", name(&left[0])))?;
                }
            }
        }
        Ok(())
    }

    async fn kept_without_owner(&self, selector: &str) -> Result<(), Broken> {
        let owners = |object: &Value| object["metadata"]["ownerReferences"].as_array().map_or(0, Vec::len);
        let sets = self.k.live("rs", selector).await?;
        ensure(sets.len() == 1 && owners(&sets[0]) == 0, || {
            format!("{} ReplicaSets, the first with {} owners", sets.len(), owners(&sets[0]))
        })?;
        let pods = self.k.ready_pods(selector, 3, self.limit).await?;
        ensure(pods.iter().all(|pod| owners(pod) == 1), || "a pod lost its ReplicaSet".into())?;
        self.k.run(&["delete", "rs", name(&sets[0])]).await?;
        self.gone("rs,pod", selector).await
    }

    /// Waits until nothing of these kinds is left.
    async fn gone(&self, kinds: &str, selector: &str) -> Result<(), Broken> {
        eventually(self.limit, &format!("nothing of {selector} is left"), async || {
            let left = all(&self.k, kinds, selector).await?;
            if left.is_empty() { Ok(()) } else { Err(Broken(format!("{} objects, such as {}", left.len(), name(&left[0])))) }
        })
        .await
    }

    pub(super) async fn owned_by_a_custom_resource(&mut self) -> Result<(), Broken> {
        let k = &self.k;
        let group = format!("{}.example", k.namespace);
        k.apply(&definition(&group)).await?;
        let crd = format!("bosses.{group}");
        k.run(&["wait", "--for=condition=Established", &format!("crd/{crd}"), "--timeout=30s"]).await?;
        let boss = format!("apiVersion: {group}/v1\nkind: Boss\nmetadata: {{name: boss}}\n");
        eventually(self.limit, "the new kind is served", async || k.apply(&boss).await.map(|_| ())).await?;
        let boss = k.object(&crd, "boss").await?;
        k.apply(&owned("ConfigMap", "of-boss", &reference(&boss))).await?;

        let other = Kubectl::new(&self.kubectl, &self.plane.kubeconfig, &format!("{}-29", k.namespace));
        k.run(&["create", "namespace", &other.namespace]).await?;
        other.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: far}\n").await?;
        let far = other.object("configmap", "far").await?;
        k.apply(&owned("ConfigMap", "of-far", &reference(&far))).await?;

        k.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: near}\n").await?;
        let near = k.object("configmap", "near").await?;
        let role = format!("{}-of-near", k.namespace);
        k.apply(
            &owned("ClusterRole", &role, &reference(&near))
                .replace("v1\nkind: ClusterRole", "rbac.authorization.k8s.io/v1\nkind: ClusterRole"),
        )
        .await?;

        k.run(&["delete", &crd, "boss"]).await?;
        let goes = async |child: &str| {
            eventually(self.limit, &format!("{child} goes"), async || k.refused(&["get", "configmap", child]).await.map(|_| ())).await
        };
        goes("of-boss").await?;
        goes("of-far").await?;
        other.object("configmap", "far").await?;
        // An event about an object without namespace is one of namespace default.
        eventually(self.limit, "an event says why the ClusterRole stays", async || {
            let field = format!("involvedObject.name={role}");
            let events = k.json(&["get", "events", "-n", "default", "--field-selector", &field]).await?;
            let told = events["items"].as_array().into_iter().flatten().any(|event| event["reason"] == "OwnerRefInvalidNamespace");
            if told { Ok(()) } else { Err(Broken("no OwnerRefInvalidNamespace".into())) }
        })
        .await?;
        k.run(&["delete", "configmap", "near"]).await?;
        tokio::time::sleep(AFTER_ALL).await;
        k.object("clusterrole", &role).await?;
        k.run(&["delete", "clusterrole", &role]).await?;
        k.run(&["delete", "namespace", &other.namespace, "--wait=false"]).await?;
        k.run(&["delete", "crd", &crd]).await.map(|_| ())
    }

    pub(super) async fn delete_the_guestbook(&mut self) -> Result<(), Broken> {
        self.plane.resume(&self.folder)?;
        let guestbook = self.guestbook();
        self.k.run(&["delete", "-f", &guestbook.to_string_lossy()]).await?;
        self.gone("deploy,rs,pod,svc,ing", "app=guestbook").await?;
        self.delete_a_namespace().await
    }

    /// A namespace goes with everything in it, pods first, and says what keeps it.
    async fn delete_a_namespace(&self) -> Result<(), Broken> {
        let k = Kubectl::new(&self.kubectl, &self.plane.kubeconfig, &format!("{}-32", self.k.namespace));
        k.run(&["create", "namespace", &k.namespace]).await?;
        k.apply(&deployment("inside", 2, "registry.example/app:1", "")).await?;
        k.ready_pods("app=inside", 2, self.limit).await?;
        k.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n").await?;
        let pods = k.live("pods", "app=inside").await?;
        let hold = r#"{"metadata":{"finalizers":["story.example/hold"]}}"#;
        k.run(&["patch", "pod", name(&pods[0]), "--type=merge", "-p", hold]).await?;
        k.run(&["delete", "namespace", &k.namespace, "--wait=false"]).await?;
        let wanted = [
            ("NamespaceContentRemaining", "Some resources are remaining: pods. has 1 resource instances"),
            (
                "NamespaceFinalizersRemaining",
                "Some content in the namespace has finalizers remaining: story.example/hold in 1 resource instances",
            ),
        ];
        eventually(self.limit, "the namespace says what keeps it", async || {
            let found = k.object("namespace", &k.namespace).await?;
            for (kind, message) in wanted {
                let told = condition(&found, kind).cloned().unwrap_or_default();
                ensure(told["status"] == "True" && told["message"] == message, || format!("{kind} is {told}"))?;
            }
            Ok(())
        })
        .await?;
        // Whatever a pod may need stays as long as there are pods.
        k.object("configmap", "settings").await?;
        let release = r#"{"metadata":{"finalizers":null}}"#;
        k.run(&["patch", "pod", name(&pods[0]), "--type=merge", "-p", release]).await?;
        eventually(self.limit, "the namespace goes", async || k.refused(&["get", "namespace", &k.namespace]).await.map(|_| ())).await
    }
}

/// All objects of these kinds, those being deleted included.
async fn all(k: &Kubectl, kinds: &str, selector: &str) -> Result<Vec<Value>, Broken> {
    let mut list = k.json(&["get", kinds, "--selector", selector]).await?;
    match list["items"].take() {
        Value::Array(items) => Ok(items),
        _ => Err(Broken(format!("no list of {kinds}"))),
    }
}

fn definition(group: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: bosses.{group}}}\nspec:\n  group: {group}\n  scope: \
         Namespaced\n  names: {{plural: bosses, singular: boss, kind: Boss}}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    \
         schema: {{openAPIV3Schema: {{type: object}}}}\n"
    )
}

/// An object whose only owner is this one.
fn owned(kind: &str, name: &str, owner: &str) -> String {
    format!("apiVersion: v1\nkind: {kind}\nmetadata:\n  name: {name}\n  ownerReferences: [{owner}]\n")
}

/// The reference to an object.
fn reference(owner: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = &owner["metadata"];
    let (version, kind) = (text(&owner["apiVersion"]), text(&owner["kind"]));
    format!("{{apiVersion: {version}, kind: {kind}, name: {}, uid: {}}}", text(&meta["name"]), text(&meta["uid"]))
}
