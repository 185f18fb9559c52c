//! The port as a client sees it, over TLS on loopback. Scenarios 18, 20, 21 (in part) and 22 of manager 16.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use evenkeel_serve::{CertificateSource, Checks, DebugPage, Endpoint, Metrics, ServeError, ServeOptions, Server, TlsVersion, listen};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A folder of this test's own below the build's.
fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("serve-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

struct Port {
    server: Server,
    dir: PathBuf,
    checks: Checks,
    metrics: Metrics,
}

async fn port(name: &str, bind: IpAddr, change: impl FnOnce(&mut ServeOptions)) -> Port {
    let dir = folder(name);
    let mut options = ServeOptions {
        certificate: CertificateSource::SelfSigned { dir: Some(dir.clone()), name: "kube-controller-manager".into() },
        min_tls: TlsVersion::default(),
        metrics_open: false,
    };
    change(&mut options);
    let listener = TcpListener::bind((bind, 0)).await.unwrap();
    let (checks, metrics) = (Checks::default(), Metrics::new(Arc::new(RwLock::new(Registry::default()))));
    let shown = |of: &dyn Fn(&str) -> Vec<String>| Some(of("uid").join("+")).filter(|text| !text.is_empty());
    let debug = vec![DebugPage { path: "/debug/picture", content_type: "text/vnd.graphviz", make: Box::new(shown) }];
    let server = Server::start(listener, &options, checks.clone(), metrics.clone(), debug).await.unwrap();
    Port { server, dir, checks, metrics }
}

async fn local(name: &str) -> Port {
    port(name, Ipv4Addr::LOCALHOST.into(), |_| {}).await
}

fn trusting(pem: &[u8], versions: &[&'static rustls::SupportedProtocolVersion]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn connect(address: SocketAddr, pem: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).await?;
    trusting(pem, rustls::ALL_VERSIONS).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

async fn ask(address: SocketAddr, pem: &[u8], path: &str, headers: &str) -> Answer {
    let mut stream = connect(address, pem).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head: head.to_ascii_lowercase(), body: body.to_owned() }
}

impl Port {
    fn pem(&self) -> Vec<u8> {
        std::fs::read(self.dir.join("kube-controller-manager.crt")).unwrap()
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = ask(self.server.address(), &self.pem(), path, "").await;
        (answer.status, answer.body)
    }
}

/// manager 16.20.
#[tokio::test]
async fn a_standby_lists_its_election_and_a_leader_each_running_controller_too() {
    let port = local("standby").await;
    assert_eq!(port.get("/healthz?verbose").await, (200, "[+]ping ok\nhealthz check passed\n".into()), "without election: manager 9.2");
    port.checks.register("leaderElection", &Endpoint::ALL, || Ok(()));
    assert_eq!(port.get("/healthz?verbose").await, (200, "[+]leaderElection ok\nhealthz check passed\n".into()));
    for name in ["deployment-controller", "replicaset-controller"] {
        port.checks.register(name, &[Endpoint::Healthz], || Ok(()));
    }
    let all = "[+]leaderElection ok\n[+]deployment-controller ok\n[+]replicaset-controller ok\n";
    assert_eq!(port.get("/healthz?verbose").await, (200, format!("{all}healthz check passed\n")));
    assert_eq!(port.get("/livez?verbose").await, (200, "[+]leaderElection ok\nlivez check passed\n".into()));
    port.checks.remove("deployment-controller");
    port.checks.register("replicaset-controller", &[Endpoint::Healthz], || Ok(()));
    assert_eq!(
        port.get("/healthz?verbose").await,
        (200, "[+]leaderElection ok\n[+]replicaset-controller ok\nhealthz check passed\n".into())
    );
}

/// manager 16.18, the page's part.
#[tokio::test]
async fn a_failing_election_check_makes_health_500_and_names_it_without_the_reason() {
    let port = local("failing").await;
    let failing = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&failing);
    port.checks.register("leaderElection", &Endpoint::ALL, move || if seen.load(Ordering::SeqCst) { Err("secret".into()) } else { Ok(()) });
    port.checks.register("other", &[Endpoint::Healthz], || Ok(()));
    assert_eq!(port.get("/healthz").await, (500, "[-]leaderElection failed: reason withheld\n[+]other ok\nhealthz check failed\n".into()));
    assert_eq!(port.get("/readyz").await, (500, "[-]leaderElection failed: reason withheld\nreadyz check failed\n".into()));
    assert_eq!(port.get("/healthz?exclude=leaderElection").await, (200, "ok".into()));
    assert_eq!(
        port.get("/healthz?verbose&exclude=leaderElection&exclude=nope").await.1,
        "[+]leaderElection excluded: ok\n[+]other ok\nwarn: some health checks cannot be excluded: no matches for \"nope\"\nhealthz check passed\n"
    );
    assert_eq!(port.get("/healthz/leaderElection").await.0, 500);
    assert_eq!(port.get("/healthz/other").await, (200, "ok".into()));
    assert_eq!(port.get("/livez/other").await.0, 404, "it is not on that page");
    failing.store(false, Ordering::SeqCst);
    assert_eq!(port.get("/healthz").await, (200, "ok".into()));
}

#[tokio::test]
async fn a_check_that_panics_fails_and_the_port_lives_on() {
    let port = local("panic").await;
    port.checks.register("odd", &[Endpoint::Healthz], || panic!("a check's own fault"));
    assert_eq!(port.get("/healthz").await.0, 500);
    assert_eq!(port.get("/livez").await, (200, "ok".into()));
}

#[tokio::test]
async fn what_is_not_served_is_404_and_other_methods_are_refused() {
    let port = local("paths").await;
    for path in ["/", "/version", "/healthzz", "/healthz/nope", "/healthz/a/b", "/metrics/", "/debug/pprof/", "/%2e%2e/etc/passwd"] {
        assert_eq!(port.get(path).await.0, 404, "{path}");
    }
    let mut stream = connect(port.server.address(), &port.pem()).await.unwrap();
    stream.write_all(b"DELETE /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 405"), "{text}");
}

#[tokio::test]
async fn metrics_are_written_as_the_client_asks_and_brought_up_to_date_before() {
    let port = local("metrics").await;
    let (counter, gauge) = (Counter::<u64>::default(), Gauge::<i64>::default());
    {
        let mut registry = port.metrics.registry().write().unwrap();
        registry.register("things", "Things", counter.clone());
        registry.register("level", "Level", gauge.clone());
    }
    counter.inc();
    let scrapes = AtomicU64::new(0);
    port.metrics.before_scrape(move || {
        gauge.set(scrapes.fetch_add(1, Ordering::SeqCst) as i64 + 1);
    });
    let text = ask(port.server.address(), &port.pem(), "/metrics", "").await;
    assert!(text.head.contains("content-type: text/plain; version=0.0.4"), "{}", text.head);
    assert!(text.body.contains("# TYPE things_total counter\nthings_total 1\n") && text.body.contains("\nlevel 1\n"), "{}", text.body);
    assert!(!text.body.contains("# EOF"));
    let open = ask(port.server.address(), &port.pem(), "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n").await;
    assert!(open.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", open.head);
    assert!(
        open.body.contains("# TYPE things counter\nthings_total 1\n")
            && open.body.contains("\nlevel 2\n")
            && open.body.ends_with("# EOF\n")
    );
}

/// manager 16.21 as far as it is built: health for everybody; `/metrics` not on an address that others can reach, unless opened.
#[tokio::test]
async fn an_anonymous_caller_reads_health_and_on_a_reachable_address_no_metrics() {
    let reachable = port("reachable", Ipv4Addr::UNSPECIFIED.into(), |_| {}).await;
    assert_eq!((reachable.get("/healthz").await.0, reachable.get("/metrics").await.0), (200, 403));
    assert_eq!(reachable.get("/debug/picture?uid=a").await.0, 403);
    let opened = port("opened", Ipv4Addr::UNSPECIFIED.into(), |options| options.metrics_open = true).await;
    assert_eq!(opened.get("/metrics").await.0, 200);
}

#[tokio::test]
async fn a_debug_page_shows_what_is_asked_for_and_is_absent_where_there_is_nothing() {
    let port = local("debug").await;
    let page = ask(port.server.address(), &port.pem(), "/debug/picture?uid=a&uid=b%2Fc", "").await;
    assert_eq!((page.status, page.body.as_str()), (200, "a+b/c"));
    assert!(page.head.contains("content-type: text/vnd.graphviz"), "{}", page.head);
    assert_eq!((port.get("/debug/picture").await.0, port.get("/debug/pictures?uid=a").await.0), (404, 404));
}

fn signed(dir: &Path) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(dir.join("tls.crt"), made.cert.pem()).unwrap();
    made.cert.pem().into_bytes()
}

/// manager 16.22.
#[tokio::test]
async fn new_connections_get_a_replaced_certificate_without_restart() {
    let files = folder("replaced-files");
    let first = signed(&files);
    let source = CertificateSource::Files { certificate: files.join("tls.crt"), key: files.join("tls.key") };
    let port = port("replaced", Ipv4Addr::LOCALHOST.into(), |options| options.certificate = source).await;
    let address = port.server.address();
    assert_eq!(ask(address, &first, "/healthz", "").await.status, 200);

    // Half a replacement does no harm.
    std::fs::write(files.join("tls.crt"), "no certificate").unwrap();
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(ask(address, &first, "/healthz", "").await.status, 200);

    let second = signed(&files);
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(ask(address, &second, "/healthz", "").await.status, 200);
    assert!(connect(address, &first).await.is_err(), "the old one is not served any more");

    std::fs::remove_file(files.join("tls.key")).unwrap();
    sleep(Duration::from_millis(1100)).await;
    assert_eq!(ask(address, &second, "/healthz", "").await.status, 200);
}

#[tokio::test]
async fn a_self_signed_certificate_is_kept_in_the_folder_and_used_again() {
    let port = local("kept").await;
    let pem = port.pem();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(port.dir.join("kube-controller-manager.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "nobody else reads the key");
    }
    port.server.shut_down().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let options = ServeOptions {
        certificate: CertificateSource::SelfSigned { dir: Some(port.dir.clone()), name: "kube-controller-manager".into() },
        min_tls: TlsVersion::Tls12,
        metrics_open: false,
    };
    let again = Server::start(listener, &options, Checks::default(), Metrics::default(), Vec::new()).await.unwrap();
    assert_eq!(ask(again.address(), &pem, "/healthz", "").await.status, 200);
}

#[tokio::test]
async fn a_self_signed_certificate_in_memory_needs_no_folder() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let options = ServeOptions {
        certificate: CertificateSource::SelfSigned { dir: None, name: "x".into() },
        min_tls: TlsVersion::Tls12,
        metrics_open: false,
    };
    let server = Server::start(listener, &options, Checks::default(), Metrics::default(), Vec::new()).await.unwrap();
    let other = local("memory").await;
    let error = connect(server.address(), &other.pem()).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "it is a certificate of its own: {error}");
}

#[tokio::test]
async fn the_oldest_tls_version_can_be_raised() {
    let port = port("versions", Ipv4Addr::LOCALHOST.into(), |options| options.min_tls = "VersionTLS13".parse().unwrap()).await;
    let name = || ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(port.server.address()).await.unwrap();
    assert!(trusting(&port.pem(), &[&rustls::version::TLS12]).connect(name(), stream).await.is_err());
    let stream = TcpStream::connect(port.server.address()).await.unwrap();
    assert!(trusting(&port.pem(), &[&rustls::version::TLS13]).connect(name(), stream).await.is_ok());
    assert!("VersionTLS14".parse::<TlsVersion>().is_err());
    assert_eq!("VersionTLS10".parse(), Ok(TlsVersion::Tls12));
}

#[tokio::test]
async fn bad_certificate_files_are_named_at_start() {
    let dir = folder("bad");
    std::fs::write(dir.join("tls.key"), "x").unwrap();
    for (contents, why) in [(None, "No such file"), (Some(""), "no certificate"), (Some("garbage"), "no certificate")] {
        if let Some(contents) = contents {
            std::fs::write(dir.join("tls.crt"), contents).unwrap();
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let options = ServeOptions {
            certificate: CertificateSource::Files { certificate: dir.join("tls.crt"), key: dir.join("tls.key") },
            min_tls: TlsVersion::Tls12,
            metrics_open: false,
        };
        let error = Server::start(listener, &options, Checks::default(), Metrics::default(), Vec::new()).await.unwrap_err().to_string();
        assert!(error.contains("tls.crt") && error.contains(why), "{error}");
    }
    // A key that belongs to another certificate.
    signed(&dir);
    let key = std::fs::read(dir.join("tls.key")).unwrap();
    signed(&dir);
    std::fs::write(dir.join("tls.key"), key).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let options = ServeOptions {
        certificate: CertificateSource::Files { certificate: dir.join("tls.crt"), key: dir.join("tls.key") },
        min_tls: TlsVersion::Tls12,
        metrics_open: false,
    };
    assert!(matches!(
        Server::start(listener, &options, Checks::default(), Metrics::default(), Vec::new()).await,
        Err(ServeError::Certificate { .. })
    ));
}

/// manager 16.5, the port's part.
#[tokio::test]
async fn port_zero_opens_nothing_and_a_taken_port_is_an_error() {
    assert!(listen(Ipv4Addr::LOCALHOST.into(), 0).await.unwrap().is_none());
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let error = listen(Ipv4Addr::LOCALHOST.into(), taken.local_addr().unwrap().port()).await.unwrap_err();
    assert!(error.to_string().contains("cannot listen on 127.0.0.1"), "{error}");
}

#[tokio::test]
async fn idle_clients_do_not_keep_a_probe_out() {
    let port = local("idle").await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(port.server.address()).await.unwrap());
    }
    assert_eq!(timeout(Duration::from_secs(5), port.get("/healthz")).await.expect("served"), (200, "ok".into()));
}

#[tokio::test]
async fn garbage_instead_of_tls_or_http_closes_that_connection_only() {
    let port = local("garbage").await;
    let mut plain = TcpStream::connect(port.server.address()).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(5), plain.read_to_end(&mut rest)).await.expect("closed");
    let mut tls = connect(port.server.address(), &port.pem()).await.unwrap();
    let _ = tls.write_all(&[b'x'; 100_000]).await;
    let _ = timeout(Duration::from_secs(5), tls.read_to_end(&mut rest)).await.expect("closed");
    assert_eq!(port.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn shutdown_closes_the_port_soon_even_with_idle_clients() {
    let port = local("shutdown").await;
    let address = port.server.address();
    let _idle = TcpStream::connect(address).await.unwrap();
    let _kept = connect(address, &port.pem()).await.unwrap();
    let start = Instant::now();
    port.server.shut_down().await;
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(TcpStream::connect(address).await.is_err());
}
