//! Steps 16, 17 and 30: the commands that change and wait for things, and a foreign finalizer.

use super::super::kubectl::name;
use super::super::wait::{ensure, eventually};
use super::{Stage, deployment, replicas};
use crate::recorded::Broken;

const OBJECT: &str = "deployment/tried";

impl Stage {
    pub(super) async fn commands(&mut self) -> Result<(), Broken> {
        let manifest = deployment("tried", 1, "registry.example/app:1", "");
        self.k.apply(&manifest).await?;
        self.k.ready_pods("app=tried", 1, self.limit).await?;
        self.rolled_out("tried").await?;

        self.k.run(&["set", "image", OBJECT, "main=registry.example/app:2"]).await?;
        self.rolled_out("tried").await?;
        let pods = self.k.ready_pods("app=tried", 1, self.limit).await?;
        ensure(pods[0]["spec"]["containers"][0]["image"] == "registry.example/app:2", || "set image reached no pod".into())?;

        self.k.run(&["scale", OBJECT, "--replicas=3"]).await?;
        self.k.ready_pods("app=tried", 3, self.limit).await?;
        let said = self.k.refused(&["scale", OBJECT, "--current-replicas=9", "--replicas=1"]).await?;
        ensure(said.contains("xpected replicas to be 9"), || format!("scale with a wrong precondition says: {said}"))?;

        let edited = self.k.with_editor("sed -i 's/replicas: 3/replicas: 2/'").run(&["edit", OBJECT]).await?;
        ensure(edited.contains("edited"), || format!("edit says: {edited}"))?;
        self.k.ready_pods("app=tried", 2, self.limit).await?;

        let patches = [
            ("strategic", r#"{"spec":{"template":{"spec":{"containers":[{"name":"main","env":[{"name":"A","value":"1"}]}]}}}}"#),
            ("merge", r#"{"spec":{"minReadySeconds":1}}"#),
            ("json", r#"[{"op":"replace","path":"/spec/replicas","value":1}]"#),
        ];
        for (kind, patch) in patches {
            self.k.run(&["patch", OBJECT, "--type", kind, "-p", patch]).await?;
        }
        self.rolled_out("tried").await?;
        let pods = self.k.ready_pods("app=tried", 1, self.limit).await?;
        ensure(pods[0]["spec"]["containers"][0]["env"][0]["value"] == "1", || "the patch reached no pod".into())?;

        self.k.run(&["label", OBJECT, "story=handson"]).await?;
        let said = self.k.refused(&["label", OBJECT, "story=other"]).await?;
        ensure(said.contains("--overwrite"), || format!("label says: {said}"))?;
        self.k.run(&["annotate", OBJECT, "note=one"]).await?;
        let found = self.k.object("deployment", "tried").await?;
        ensure(found["metadata"]["labels"]["story"] == "handson" && found["metadata"]["annotations"]["note"] == "one", || {
            "label or annotation is missing".into()
        })?;
        ensure(replicas(&found) == 1, || "the JSON patch did not replace the replicas".into())?;

        self.diff(&manifest).await?;
        self.server_side().await?;
        self.prune().await
    }

    async fn diff(&self, manifest: &str) -> Result<(), Broken> {
        let file = self.write("tried.yaml", &manifest.replace("replicas: 1", "replicas: 5"))?;
        let said = self.k.say(&["diff", "-f", &file], None).await?;
        ensure(said.code == 1 && said.out.contains("+  replicas: 5"), || {
            format!("diff ends with {} and says: {}{}", said.code, said.out, said.err)
        })?;
        let found = self.k.object("deployment", "tried").await?;
        ensure(replicas(&found) == 1, || "diff changed something".into())?;
        let own = self.write("configmap.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: compared}\ndata: {a: b}\n")?;
        self.k.run(&["apply", "-f", &own]).await?;
        let said = self.k.say(&["diff", "-f", &own], None).await?;
        ensure(said.code == 0 && said.out.is_empty(), || format!("diff of what is there ends with {}: {}", said.code, said.out))
    }

    async fn server_side(&self) -> Result<(), Broken> {
        let manifest = deployment("applied", 1, "registry.example/app:1", "");
        let file = self.write("applied.yaml", &manifest)?;
        self.k.run(&["apply", "--server-side", "--field-manager=first", "-f", &file]).await?;
        self.k.ready_pods("app=applied", 1, self.limit).await?;
        let other = self.write("applied-other.yaml", &manifest.replace("replicas: 1", "replicas: 2"))?;
        let said = self.k.refused(&["apply", "--server-side", "--field-manager=second", "-f", &other]).await?;
        ensure(said.contains("conflict") && said.contains(".spec.replicas"), || format!("server-side apply says: {said}"))?;
        self.k.run(&["apply", "--server-side", "--field-manager=second", "--force-conflicts", "-f", &other]).await?;
        self.k.ready_pods("app=applied", 2, self.limit).await.map(|_| ())
    }

    async fn prune(&self) -> Result<(), Broken> {
        let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{pruned: \"yes\"}}}}\n---\n");
        let allow = ["apply", "--prune", "-l", "pruned=yes", "--prune-allowlist=core/v1/ConfigMap", "-f", "-"];
        self.k.run_with(&allow, Some(&(map("stays") + &map("goes")))).await?;
        let text = self.k.run_with(&allow, Some(&map("stays"))).await?;
        ensure(text.contains("configmap/goes pruned"), || format!("apply --prune says: {text}"))?;
        let left = self.k.live("configmaps", "pruned=yes").await?;
        ensure(left.len() == 1 && name(&left[0]) == "stays", || format!("{} are left", left.len()))
    }

    fn write(&self, file: &str, text: &str) -> Result<String, Broken> {
        let path = self.folder.join(file);
        std::fs::write(&path, text).map_err(|error| Broken(format!("{}: {error}", path.display())))?;
        Ok(path.to_string_lossy().into_owned())
    }

    pub(super) async fn wait_for_things(&mut self) -> Result<(), Broken> {
        let limit = format!("--timeout={}s", self.limit.as_secs());
        self.k.run(&["wait", "--for=condition=Available", "deployment/frontend", &limit]).await?;
        let pods = self.k.live("pods", super::FRONTEND).await?;
        let pod = format!("pod/{}", pods.first().map(name).unwrap_or("none"));
        self.k.run(&["wait", "--for=condition=Ready", &pod, &limit]).await?;
        let said = self.k.refused(&["wait", "--for=delete", &pod, "--timeout=1s"]).await?;
        ensure(said.contains("timed out"), || format!("wait for what does not go says: {said}"))?;
        self.k.run(&["delete", &pod, "--wait=false"]).await?;
        self.k.run(&["wait", "--for=delete", &pod, &limit]).await?;
        self.k.apply(&deployment("waiting", 1, "registry.invalid/app:1", "")).await?;
        let said = self.k.refused(&["wait", "--for=condition=Available", "deployment/waiting", "--timeout=1s"]).await?;
        ensure(said.contains("timed out"), || format!("wait for what does not come says: {said}"))
    }

    pub(super) async fn foreign_finalizer(&mut self) -> Result<(), Broken> {
        let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [story.example/hold]}\n";
        self.k.apply(map).await?;
        self.k.run(&["delete", "configmap", "held", "--wait=false"]).await?;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let held = self.k.object("configmap", "held").await?;
        ensure(held["metadata"]["deletionTimestamp"].is_string(), || "it is not being deleted".into())?;
        self.k.run(&["patch", "configmap", "held", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#]).await?;
        eventually(super::PATIENT, "it goes", async || self.k.refused(&["get", "configmap", "held"]).await.map(|_| ())).await
    }
}
