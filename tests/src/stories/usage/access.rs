//! Who may do what: `auth`, impersonation, certificates, tokens, the proxy.

use std::process::Stdio;

use base64::Engine;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rcgen::{CertificateParams, DnType, KeyPair};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::ground::Ground;
use super::one_use::{Use, own, using};
use crate::recorded::Broken;
use crate::stories::wait::ensure;

const ROLE: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: watcher, namespace: {ns}}
rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: watcher, namespace: {ns}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: watcher}
subjects: [{kind: ServiceAccount, name: watcher, namespace: {ns}}]
";

/// A request for a certificate.
pub(super) fn signing_request(name: &str) -> String {
    let mut wanted = CertificateParams::new(Vec::new()).expect("no names");
    wanted.distinguished_name.push(DnType::CommonName, "ann");
    let key = KeyPair::generate().expect("a key can be made");
    let pem = wanted.serialize_request(&key).and_then(|request| request.pem()).expect("a plain request can be made");
    let request = base64::engine::general_purpose::STANDARD.encode(pem);
    format!(
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: '{name}'}}\n\
         spec: {{request: {request}, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]}}\n"
    )
}

pub(super) fn uses() -> Vec<Use> {
    const ROBOT: &str = "--as=system:serviceaccount:{ns}:watcher";
    vec![
        using("auth whoami", "auth whoami").like("^Username +admin$").like(r"^Groups +\[system:masters system:authenticated\]$"),
        using("auth whoami as somebody else", "auth whoami --as=ann --as-group=crew -o 'jsonpath={.status.userInfo.username} {.status.userInfo.groups}'")
            .is(r#"ann ["crew","system:authenticated"]"#),
        using("auth can-i", "auth can-i create deployments").is("yes"),
        using("auth can-i of somebody who may not", "auth can-i delete pods --as=nobody").code(1).is("no"),
        using("auth can-i with a verb and a kind that are none", "auth can-i frobnicate nothings")
            .is("yes")
            .warns("Warning: verb 'frobnicate' is not a known verb")
            .warns("Warning: the server doesn't have a resource type 'nothings'"),
        using("auth can-i on a path", "auth can-i get /healthz --as=nobody").is("yes").then("auth can-i get /secret --as=nobody").code(1).is("no"),
        using("auth can-i --list", "auth can-i --list").like(r"^\*\.\* +\[\] +\[\] +\[\*\]$").like(r"^ +\[\*\] +\[\] +\[\*\]$"),
        using("auth reconcile", "auth reconcile -f role.yaml")
            .file("role.yaml", ROLE)
            .warns("\treconciliation required create\n\tmissing rules added:\n\t\t{Verbs:[get] APIGroups:[] Resources:[pods]")
            .says("role.rbac.authorization.k8s.io/watcher reconciled")
            .says("rolebinding.rbac.authorization.k8s.io/watcher reconciled"),
        using("auth reconcile adds what is missing", "auth reconcile -f more.yaml")
            .file("more.yaml", ROLE.replace("[get]", "[list]"))
            .warns("reconciliation required update\n\tmissing rules added:")
            .then("describe role watcher")
            .like(r"^  pods +\[\] +\[\] +\[get list\]$"),
        using("auth reconcile takes away the rest", "auth reconcile -f more.yaml --remove-extra-permissions")
            .warns("extra rules removed:")
            .then("describe role watcher")
            .like(r"^  pods +\[\] +\[\] +\[list\]$"),
        using("what a role allows", format!("auth can-i list pods {ROBOT}"))
            .is("yes")
            .then(format!("auth can-i get pods {ROBOT}"))
            .code(1)
            .is("no")
            .then(format!("auth can-i --list {ROBOT}"))
            .like(r"^pods +\[\] +\[\] +\[list\]$"),
        using("what is forbidden", format!("get secrets {ROBOT}")).refused(
            r#"Error from server (Forbidden): secrets is forbidden: User "system:serviceaccount:{ns}:watcher" cannot list resource "secrets" in API group "" in the namespace "{ns}""#,
        ),
        using("nobody may", "get pods --as=nobody").refused(r#"User "nobody" cannot list resource "pods" in API group "" in the namespace "{ns}""#),
        own("a token opens the door", token),
        using("certificate approve", "create -f request.yaml")
            .file("request.yaml", signing_request("{ns}-a"))
            .says("created")
            .then("get csr {ns}-a")
            .like("^{ns}-a +[0-9a-z]+ +kubernetes.io/kube-apiserver-client +admin +<none> +Pending$")
            .then("certificate approve {ns}-a")
            .is("certificatesigningrequest.certificates.k8s.io/{ns}-a approved")
            .then("get csr {ns}-a")
            .like(" Approved")
            .then("delete csr {ns}-a")
            .says("deleted"),
        using("certificate deny", "create -f request.yaml")
            .file("request.yaml", signing_request("{ns}-d"))
            .says("created")
            .then("certificate deny {ns}-d")
            .is("certificatesigningrequest.certificates.k8s.io/{ns}-d denied")
            .then("describe csr {ns}-d")
            .like("^Requesting User: +admin$")
            .like("^Status: +Denied$")
            .like("^ +Common Name: +ann$")
            .then("delete csr {ns}-d")
            .says("deleted"),
        using("a certificate approved twice over", "certificate approve {ns}-none").refused(r#"certificatesigningrequests.certificates.k8s.io "{ns}-none" not found"#),
        own("proxy", proxy),
    ]
}

/// A service account's token is one by which its owner is known.
fn token(ground: &Ground) -> LocalBoxFuture<'_, Result<(), Broken>> {
    async move {
        ground.run("create serviceaccount watcher", None).await?;
        let token = ground.run("create token watcher", None).await?;
        // A file of its own, without what the other one says of the user.
        let config = ground.run("config view --minify --flatten --raw -o json", None).await?;
        let mut config: serde_json::Value = serde_json::from_str(&config).map_err(|error| Broken(error.to_string()))?;
        config["users"][0]["user"] = serde_json::json!({"token": token.trim()});
        let file = ground.write("robot.kubeconfig", &config.to_string())?;
        let robot = Ground { kubeconfig: file, ..ground.clone() };
        let who = robot.run("auth whoami -o 'jsonpath={.status.userInfo.username}'", None).await?;
        let expected = ground.expected("system:serviceaccount:{ns}:watcher");
        ensure(who == expected, || format!("it is known as {who}"))?;
        robot.run("get pods", None).await.map(|_| ())
    }
    .boxed_local()
}

/// What runs beside others answers without a token.
fn proxy(ground: &Ground) -> LocalBoxFuture<'_, Result<(), Broken>> {
    async move {
        let broken = |error: std::io::Error| Broken(format!("proxy: {error}"));
        let mut command = ground.command("proxy --port=0")?;
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(broken)?;
        let mut lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        let line = lines.next_line().await.map_err(broken)?.unwrap_or_default();
        let address = line.strip_prefix("Starting to serve on ").ok_or_else(|| Broken(format!("it says {line}")))?.to_owned();
        let mut stream = tokio::net::TcpStream::connect(&address).await.map_err(broken)?;
        let path = ground.filled("/api/v1/namespaces/{ns}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(broken)?;
        let expected = ground.expected("\"name\":\"{ns}\"");
        ensure(answer.starts_with("HTTP/1.1 200") && answer.replace(": ", ":").contains(&expected), || format!("it answers {answer}"))
    }
    .boxed_local()
}
