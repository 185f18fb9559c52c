//! Steps 1 to 6: a Deployment, its ReplicaSet and its pods.

use super::super::kubectl::{is_ready, name};
use super::super::wait::{ensure, eventually};
use super::{FRONTEND, Stage, replicas};
use crate::recorded::Broken;

const GUESTBOOK: [(&str, &str, usize); 3] = [
    ("frontend", "app=guestbook,role=web", 1),
    ("redis-leader", "app=guestbook,role=leader", 1),
    ("redis-follower", "app=guestbook,role=follower", 2),
];

impl Stage {
    pub(super) async fn apply_the_guestbook(&mut self) -> Result<(), Broken> {
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/guestbook");
        let folder = self.guestbook();
        let copy = || {
            std::fs::create_dir_all(&folder)?;
            for entry in std::fs::read_dir(&source)? {
                let entry = entry?;
                std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
            }
            Ok::<_, std::io::Error>(())
        };
        copy().map_err(|error| Broken(format!("the guestbook cannot be copied: {error}")))?;
        self.apply_guestbook().await?;
        for (deployment, labels, count) in GUESTBOOK {
            self.k.ready_pods(labels, count, self.limit).await?;
            let sets = self.sets(deployment).await?;
            ensure(sets.len() == 1, || format!("{deployment} has {} ReplicaSets", sets.len()))?;
            let hash = sets[0]["metadata"]["labels"]["pod-template-hash"].as_str().unwrap_or("?").to_owned();
            ensure(name(&sets[0]) == format!("{deployment}-{hash}"), || format!("{} is not {deployment}-{hash}", name(&sets[0])))?;
        }
        let pods = self.k.live("pods", "app=guestbook").await?;
        ensure(pods.iter().all(|pod| pod["status"]["phase"] == "Running" && is_ready(pod)), || {
            "not all pods are Running and Ready".into()
        })?;
        let columns = [
            ("deploy", "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR"),
            ("rs", "NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR"),
            ("pod", "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES"),
            ("svc", "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR"),
            ("ing", "NAME CLASS HOSTS ADDRESS PORTS AGE"),
        ];
        for (kind, wanted) in columns {
            let table = self.k.run(&["get", kind, "-o", "wide"]).await?;
            let header: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
            ensure(header.join(" ") == wanted, || format!("get {kind} -o wide shows {header:?}"))?;
            ensure(table.lines().count() > 1, || format!("get {kind} -o wide shows nothing"))?;
        }
        Ok(())
    }

    pub(super) fn guestbook(&self) -> std::path::PathBuf {
        self.folder.join("guestbook")
    }

    async fn apply_guestbook(&self) -> Result<(), Broken> {
        self.k.run(&["apply", "-f", &self.guestbook().to_string_lossy()]).await.map(|_| ())
    }

    /// Edits the frontend's file as a person would, and applies all of it.
    pub(super) async fn edit_frontend(&self, from: &str, to: &str) -> Result<(), Broken> {
        let file = self.guestbook().join("frontend-deployment.yaml");
        let text = std::fs::read_to_string(&file).map_err(|error| Broken(format!("{}: {error}", file.display())))?;
        ensure(text.contains(from), || format!("{} holds no '{from}'", file.display()))?;
        std::fs::write(&file, text.replace(from, to)).map_err(|error| Broken(format!("{}: {error}", file.display())))?;
        self.apply_guestbook().await
    }

    pub(super) async fn describe_everything(&mut self) -> Result<(), Broken> {
        let text = eventually(self.limit, "the Deployment's events", async || {
            let text = self.k.run(&["describe", "deploy", "frontend"]).await?;
            if text.contains("ScalingReplicaSet") { Ok(text) } else { Err(Broken("no ScalingReplicaSet".into())) }
        })
        .await?;
        ensure(text.contains("NewReplicaSet:"), || "describe deploy does not show the new ReplicaSet".into())?;
        let sets = self.sets("frontend").await?;
        let set = sets.first().map(name).unwrap_or("none");
        eventually(self.limit, "the ReplicaSet's events", async || {
            let text = self.k.run(&["describe", "rs", set]).await?;
            if text.contains("SuccessfulCreate") { Ok(()) } else { Err(Broken("no SuccessfulCreate".into())) }
        })
        .await?;
        let pods = self.k.run(&["describe", "pod"]).await?;
        ensure(pods.contains("Controlled By:  ReplicaSet/"), || "describe pod does not show who controls it".into())?;
        let services = self.k.run(&["describe", "svc"]).await?;
        ensure(services.contains("Selector:") && services.contains("redis-leader"), || "describe svc shows no selector".into())?;
        let ingress = self.k.run(&["describe", "ing"]).await?;
        ensure(ingress.contains("frontend:"), || "describe ing shows no backend".into())
    }

    pub(super) async fn rollout_status(&mut self) -> Result<(), Broken> {
        let limit = format!("--timeout={}s", self.limit.as_secs());
        let text = self.k.run(&["rollout", "status", "deployment/frontend", &limit]).await?;
        ensure(text.contains("successfully rolled out"), || format!("it says: {text}"))
    }

    pub(super) async fn scale_in_the_file(&mut self) -> Result<(), Broken> {
        let before = self.sets("frontend").await?;
        ensure(before.len() == 1, || format!("{} ReplicaSets before", before.len()))?;
        self.edit_frontend("replicas: 1", "replicas: 2").await?;
        self.k.ready_pods(FRONTEND, 2, self.limit).await?;
        let after = self.sets("frontend").await?;
        ensure(after.len() == 1 && name(&after[0]) == name(&before[0]), || "scaling made another ReplicaSet".into())?;
        ensure(replicas(&after[0]) == 2, || format!("the ReplicaSet wants {}", replicas(&after[0])))
    }

    pub(super) async fn delete_a_pod(&mut self) -> Result<(), Broken> {
        let before = self.k.ready_pods(FRONTEND, 2, self.limit).await?;
        self.k.run(&["delete", "pod", name(&before[0]), "--wait=false"]).await?;
        eventually(self.limit, "a pod of another name in its place", async || {
            let pods = self.k.ready_pods(FRONTEND, 2, self.limit).await?;
            let kept = pods.iter().any(|pod| name(pod) == name(&before[1]));
            let gone = pods.iter().all(|pod| name(pod) != name(&before[0]));
            if kept && gone { Ok(()) } else { Err(Broken("the pods are the same".into())) }
        })
        .await
    }

    pub(super) async fn relabel_a_pod(&mut self) -> Result<(), Broken> {
        let before = self.k.ready_pods(FRONTEND, 2, self.limit).await?;
        let released = name(&before[0]).to_owned();
        self.k.run(&["label", "pod", &released, "role=apart", "--overwrite"]).await?;
        let pods = self.k.ready_pods(FRONTEND, 2, self.limit).await?;
        ensure(pods.iter().all(|pod| name(pod) != released), || "it still counts".into())?;
        eventually(self.limit, "the pod lives on without controller", async || {
            let pod = self.k.object("pod", &released).await?;
            let free =
                pod["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty) && pod["metadata"]["deletionTimestamp"].is_null();
            if free { Ok(()) } else { Err(Broken(format!("owners {}", pod["metadata"]["ownerReferences"]))) }
        })
        .await?;
        self.k.run(&["label", "pod", &released, "role=web", "--overwrite"]).await?;
        // Three fit the selector now: one of them goes, whichever it is.
        eventually(self.limit, "one of three pods goes", async || {
            let pods = self.k.live("pods", FRONTEND).await?;
            let owned = pods.iter().all(|pod| pod["metadata"]["ownerReferences"].as_array().is_some_and(|owners| owners.len() == 1));
            if pods.len() == 2 && owned { Ok(()) } else { Err(Broken(format!("{} pods, all owned: {owned}", pods.len()))) }
        })
        .await
    }
}
