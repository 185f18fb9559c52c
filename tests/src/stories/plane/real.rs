//! A real kube-apiserver and etcd on loopback, with certificates made here.

use std::path::Path;

use base64::Engine;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio::process::{Child, Command};

use super::{free_port, spawn};
use crate::recorded::Broken;

/// Of user `admin`; the server listens on loopback only and ends with the story.
const TOKEN: &str = "story";

/// Starts both; they may not answer yet. The kubeconfig is written.
pub(super) fn start(assets: &Path, folder: &Path, kubeconfig: &Path) -> Result<Vec<Child>, Broken> {
    let (clients, peers, port) = (free_port()?, free_port()?, free_port()?);
    let (authority, certificate, key) = certificates().map_err(|error| Broken(format!("no certificates: {error}")))?;
    let account = KeyPair::generate().map_err(|error| Broken(format!("no key: {error}")))?;
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| Broken(format!("cannot write {}: {error}", path.display())))?;
        Ok::<_, Broken>(path.to_string_lossy().into_owned())
    };
    let (crt, key) = (file("server.crt", &certificate)?, file("server.key", &key)?);
    let (signing, checking) = (file("account.key", &account.serialize_pem())?, file("account.pub", &account.public_key_pem())?);
    let tokens = file("tokens.csv", &format!("{TOKEN},admin,admin,\"system:masters\"\n"))?;
    let ca = base64::engine::general_purpose::STANDARD.encode(authority);
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: story\ncontexts: [{{name: story, context: {{cluster: story, user: admin}}}}]\n\
         users: [{{name: admin, user: {{token: {TOKEN}}}}}]\n\
         clusters: [{{name: story, cluster: {{server: \"https://127.0.0.1:{port}\", certificate-authority-data: {ca}}}}}]\n"
    );
    std::fs::write(kubeconfig, text).map_err(|error| Broken(format!("cannot write {}: {error}", kubeconfig.display())))?;

    let mut etcd = Command::new(assets.join("etcd"));
    etcd.args(["--name=story", "--unsafe-no-fsync", "--log-level=warn"]);
    etcd.arg(format!("--data-dir={}", folder.join("etcd").display()));
    for (flag, port) in [
        ("listen-client-urls", clients),
        ("advertise-client-urls", clients),
        ("listen-peer-urls", peers),
        ("initial-advertise-peer-urls", peers),
    ] {
        etcd.arg(format!("--{flag}=http://127.0.0.1:{port}"));
    }
    etcd.arg(format!("--initial-cluster=story=http://127.0.0.1:{peers}"));
    let etcd = spawn(&mut etcd, &folder.join("etcd.log"))?;

    let mut server = Command::new(assets.join("kube-apiserver"));
    server.args([
        format!("--etcd-servers=http://127.0.0.1:{clients}"),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={crt}"),
        format!("--tls-private-key-file={key}"),
        format!("--service-account-signing-key-file={signing}"),
        format!("--service-account-key-file={checking}"),
        format!("--token-auth-file={tokens}"),
    ]);
    server.args([
        "--bind-address=127.0.0.1",
        // A documentation address: only written into the `kubernetes` Endpoints, nothing listens there.
        "--advertise-address=192.0.2.1",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=RBAC",
        // Nobody makes the service accounts' tokens here.
        "--disable-admission-plugins=ServiceAccount",
    ]);
    let server = spawn(&mut server, &folder.join("kube-apiserver.log"))?;
    Ok(vec![server, etcd])
}

/// Certificate of an authority, and certificate and key of the server, PEM.
fn certificates() -> Result<(String, String, String), rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "story-ca");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let names = ["127.0.0.1", "10.96.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let mut server = CertificateParams::new(names.map(str::to_owned))?;
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &issuer)?;
    Ok((authority_certificate.pem(), certificate.pem(), key.serialize_pem()))
}
