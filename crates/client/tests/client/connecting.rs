//! What is said when there is no way to the server. Never a panic.

use std::path::PathBuf;

use base64::{Engine, engine::general_purpose::STANDARD};
use evenkeel_client::{ConnectError, ConnectOptions, connect, load};

/// A file with this text, under a name of its own.
fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn kubeconfig(context: &str, cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {context}\ncontexts: [{{name: main, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    )
}

/// The error for a kubeconfig, which names its file.
async fn error(name: &str, text: &str) -> String {
    let path = file(name, text);
    let error = connect(&ConnectOptions { kubeconfig: Some(path.clone()), master: None }).await.err().expect("no client").to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    error
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_there_is_named() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("no-such-file");
    let error = connect(&ConnectOptions { kubeconfig: Some(path.clone()), master: None }).await.err().unwrap();
    assert!(matches!(error, ConnectError::Kubeconfig { .. }));
    let text = error.to_string();
    assert!(text.contains("no-such-file") && text.contains("No such file"), "{text}");
}

#[tokio::test]
async fn a_kubeconfig_that_is_a_folder_or_no_yaml_is_named() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let error_of_folder = connect(&ConnectOptions { kubeconfig: Some(folder.clone()), master: None }).await.err().unwrap();
    assert!(error_of_folder.to_string().contains(folder.to_str().unwrap()), "{error_of_folder}");
    assert!(error("no-yaml", "{{{{").await.contains("YAML"));
    assert!(error("other-yaml", "clusters: 3\n").await.contains("YAML"));
    error("empty", "").await;
    error("binary", "\u{0}\u{1}\u{2}").await;
}

#[tokio::test]
async fn a_context_that_is_not_there_is_named() {
    assert!(error("no-context", &kubeconfig("other", "server: https://127.0.0.1:1", "")).await.contains("other"));
    assert!(error("no-current", &kubeconfig("''", "server: https://127.0.0.1:1", "")).await.contains("context"));
    error("no-server", &kubeconfig("main", "insecure-skip-tls-verify: true", "")).await;
    error("bad-server", &kubeconfig("main", "server: 'https://a b'", "")).await;
}

#[tokio::test]
async fn authority_data_that_is_none_is_told() {
    let with = |data: &str| kubeconfig("main", &format!("server: 'https://127.0.0.1:1', certificate-authority-data: '{data}'"), "");
    assert!(error("ca-no-base64", &with("%%%")).await.contains("certificate authority"));
    assert!(error("ca-no-pem", &with(&STANDARD.encode("hello"))).await.contains("certificate authority"));
    let pem = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    assert!(error("ca-no-certificate", &with(&STANDARD.encode(pem))).await.contains("certificate"));
    let missing = kubeconfig("main", "server: 'https://127.0.0.1:1', certificate-authority: /no/such/ca.crt", "");
    assert!(error("ca-missing", &missing).await.contains("/no/such/ca.crt"));
}

#[tokio::test]
async fn client_certificates_and_tokens_that_are_none_are_told() {
    let with = |user: &str| kubeconfig("main", "server: 'https://127.0.0.1:1', insecure-skip-tls-verify: true", user);
    let junk = STANDARD.encode("hello");
    error("identity-junk", &with(&format!("client-certificate-data: '{junk}', client-key-data: '{junk}'"))).await;
    error("identity-missing", &with("client-certificate: /no/such.crt, client-key: /no/such.key")).await;
    error("token-missing", &with("tokenFile: /no/such/token")).await;
    error("exec-missing", &with("exec: {apiVersion: client.authentication.k8s.io/v1, command: /no/such/plugin, interactiveMode: Never}"))
        .await;
}

#[tokio::test]
async fn a_master_that_is_no_url_is_told() {
    for bad in ["", "not a url", "https://", "unix:///run/x", "https://host:99999", "https://host/?q=1"] {
        let error = load(&ConnectOptions { kubeconfig: None, master: Some(bad.into()) }).await.expect_err(bad);
        assert!(matches!(&error, ConnectError::Master(m) if m == bad), "{error:?}");
        assert!(error.to_string().contains("--master"));
    }
}

#[tokio::test]
async fn a_master_takes_the_place_of_the_kubeconfigs_server() {
    let path = file("good", &kubeconfig("main", "server: 'https://127.0.0.1:1', insecure-skip-tls-verify: true", "token: t"));
    for (master, want) in
        [(None, "https://127.0.0.1:1/"), (Some("https://10.1.2.3:6443"), "https://10.1.2.3:6443/"), (Some("10.1.2.3"), "https://10.1.2.3/")]
    {
        let options = ConnectOptions { kubeconfig: Some(path.clone()), master: master.map(str::to_owned) };
        let config = load(&options).await.unwrap();
        assert_eq!(config.cluster_url.to_string(), want);
        assert!(!config.default_retry && config.connect_timeout.is_some());
        connect(&options).await.unwrap();
    }
    let alone = load(&ConnectOptions { kubeconfig: None, master: Some("localhost:8080".into()) }).await.unwrap();
    assert_eq!(alone.cluster_url.to_string(), "http://localhost:8080/");
}

#[tokio::test]
async fn outside_of_a_pod_and_without_flags_it_says_what_is_missing() {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return;
    }
    let error = connect(&ConnectOptions::default()).await.err().unwrap();
    assert!(matches!(error, ConnectError::InCluster(_)));
    assert!(error.to_string().contains("--kubeconfig"), "{error}");
}
