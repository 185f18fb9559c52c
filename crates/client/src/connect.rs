use std::{path::PathBuf, sync::Arc, time::Duration};

use hyper_rustls::{DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector, ResolveServerName};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::ConfigExt,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError, LoadDataError},
};
use tower::{BoxError, ServiceBuilder};

/// Where the API server is and who we are to it.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    /// `--kubeconfig`; with `master` empty too: the in-cluster configuration.
    pub kubeconfig: Option<PathBuf>,
    /// `--master`: overrides the kubeconfig's server.
    pub master: Option<String>,
}

/// Why there is no client. Each says which file or address it is about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read or makes no sense.
    #[error("cannot use the kubeconfig {path}: {source}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: Box<KubeconfigError>,
    },
    /// No kubeconfig was given and this is no pod.
    #[error("no --kubeconfig was given, and there is no in-cluster configuration: {0}")]
    InCluster(Box<kube::config::InClusterError>),
    /// `--master` is no URL.
    #[error("--master {0:?} is not a URL of the form https://host:port")]
    Master(String),
    /// A connection that cannot be set up, without any kubeconfig: the pod's own certificates or token.
    #[error("cannot set up the connection: {0}")]
    Client(Box<kube::Error>),
    /// Certificates, keys or a user of the kubeconfig that cannot be used.
    #[error("cannot connect with the kubeconfig {path}: {source}")]
    Credentials {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: Box<kube::Error>,
    },
}

/// How connections of one use are made and kept.
#[derive(Debug, Clone, Copy)]
struct Keeping {
    /// A connection that has not come about after this long is given up; the API server is near.
    connect: Duration,
    /// A silent peer is asked after this long whether it is still there.
    ask_after: Duration,
    /// And again this often, three times in all.
    ask_again: Duration,
    /// Idle connections are kept this long; each costs some 40 KB here and more on the server.
    idle: Duration,
    /// Idle connections that are kept at all.
    most_idle: usize,
    /// Whether HTTP/2 is offered: many requests then share one connection, and what is said at once leaves at once.
    http2: bool,
}

/// For watches and lists: a dead peer is noticed within a minute, even by a watch that has nothing to say. Each has a connection of its own:
/// servers allow so many streams on one, and there may be a watch for each of thousands of kinds
/// (docs/decisions/0007-one-connection-for-requests.md).
const WATCHES: Keeping = Keeping {
    connect: Duration::from_secs(10),
    ask_after: Duration::from_secs(30),
    ask_again: Duration::from_secs(10),
    idle: Duration::from_secs(30),
    most_idle: 100,
    http2: false,
};

/// For what the loops ask and write: one connection, if the server speaks HTTP/2, as client-go has. Where it does not, as many connections
/// are kept for the next burst as the pace lets requests through.
const REQUESTS: Keeping = Keeping { http2: true, ..WATCHES };

/// For the Lease: a dead peer is noticed within one renew deadline of 10 s (reliability row 78). The elector bounds each request, connecting
/// included, by half of that deadline itself, and gives up the connection with the request.
const LEASE: Keeping = Keeping {
    connect: Duration::from_secs(5),
    ask_after: Duration::from_secs(3),
    ask_again: Duration::from_secs(2),
    idle: Duration::from_secs(30),
    // One that renews and one that watches.
    most_idle: 2,
    http2: false,
};

/// Reads the configuration without connecting.
///
/// # Errors
/// When a file cannot be read or makes no sense; the message names it.
pub async fn load(options: &ConnectOptions) -> Result<Config, ConnectError> {
    let mut config = match &options.kubeconfig {
        Some(path) => {
            let shown = path.display().to_string();
            let wrong = |source| ConnectError::Kubeconfig { path: shown.clone(), source: Box::new(source) };
            let file = Kubeconfig::read_from(path).map_err(wrong)?;
            let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(wrong)?;
            if config.root_cert.as_ref().is_some_and(Vec::is_empty) {
                // Data without a single certificate would trust nobody, and every connection would fail for a reason hard to find.
                return Err(wrong(KubeconfigError::LoadCertificateAuthority(LoadDataError::NoBase64DataOrFile)));
            }
            config
        }
        None if options.master.is_some() => Config::new(http::Uri::from_static("https://localhost")),
        None => Config::incluster().map_err(|e| ConnectError::InCluster(Box::new(e)))?,
    };
    if let Some(master) = &options.master {
        let secure = options.kubeconfig.is_some() && config.cluster_url.scheme_str() == Some("https");
        config.cluster_url = server(master, secure).ok_or_else(|| ConnectError::Master(master.clone()))?;
    }
    // A retry layer below us would send a POST twice; reads of watches have time-outs of their own.
    config.default_retry = false;
    config.connect_timeout = Some(WATCHES.connect);
    config.read_timeout = None;
    Ok(config)
}

/// The URL of a server. Without a scheme it is `http`, as for kubectl, or `https` where the kubeconfig's server speaks it.
fn server(text: &str, secure: bool) -> Option<http::Uri> {
    let text = match text.contains("://") {
        true => text.to_owned(),
        false => format!("{}://{text}", if secure { "https" } else { "http" }),
    };
    let uri: http::Uri = text.parse().ok()?;
    // `Uri` takes any digits for a port, and user names that no layer would send.
    let authority = uri.authority()?;
    let port = authority.as_str().strip_prefix(uri.host().filter(|h| !h.is_empty())?)?;
    let port = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok());
    (port && matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none()).then_some(uri)
}

/// The ways to one API server. They share no connection: a burst, or watches that hang, must not cost the leadership (reliability row 78).
#[derive(Clone)]
pub struct Clients {
    /// For what the loops ask and write.
    pub requests: Client,
    /// For their lists and watches.
    pub watches: Client,
    /// For the Lease alone, with short timeouts.
    pub lease: Client,
    /// The server's `host:port`.
    pub host: String,
}

/// Clients of the server that `options` name. Nothing is sent yet: a server that is not there shows later.
///
/// # Errors
/// When the configuration cannot be read or used; the message names the file.
pub async fn connect(options: &ConnectOptions) -> Result<Clients, ConnectError> {
    let config = load(options).await?;
    let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
    let client = |keeping| {
        client_for(config.clone(), keeping).map_err(|source| match &options.kubeconfig {
            Some(path) => ConnectError::Credentials { path: path.display().to_string(), source: Box::new(source) },
            None => ConnectError::Client(Box::new(source)),
        })
    };
    Ok(Clients { requests: client(REQUESTS)?, watches: client(WATCHES)?, lease: client(LEASE)?, host })
}

/// A client for a configuration that [`load`] has read: kube's layers for address, identity and headers over a connection pool of our own,
/// with a keep-alive that notices dead peers, and without any layer that sends again.
///
/// One thing below us may put a request on a second connection: hyper's pool does so when a kept connection turns out to be closed before
/// the first byte of the request was written to it (it hands the request back only while that still waits in the connection's queue). That
/// is the first sending, not a second one, and saves a live read for each connection that the server closes at rest.
fn client_for(mut config: Config, keeping: Keeping) -> Result<Client, kube::Error> {
    // Which provider rustls takes by itself depends on the features that other crates switch on, and it panics when there are two.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that somebody else was quicker.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    config.connect_timeout = Some(keeping.connect);
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(keeping.ask_after));
    tcp.set_keepalive_interval(Some(keeping.ask_again));
    tcp.set_keepalive_retries(Some(3));
    let mut tls = config.rustls_client_config()?;
    if keeping.http2 {
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    let mut connector = TimeoutConnector::new(HttpsConnector::new(tcp, tls, false, server_name(&config)?));
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let pool: legacy::Client<_, kube::client::Body> = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(keeping.idle)
        .pool_max_idle_per_host(keeping.most_idle)
        .timer(TokioTimer::new())
        // The kernel asks a peer that has taken everything; one that owes answers is asked here, or its connection would be used until the
        // kernel has given up sending.
        .http2_keep_alive_interval(keeping.ask_after)
        .http2_keep_alive_timeout(keeping.ask_again)
        .http2_keep_alive_while_idle(true)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(pool);
    Ok(Client::new(service, config.default_namespace))
}

/// The name that the server's certificate has to bear: that of the URL, unless the kubeconfig has another (`tls-server-name`).
fn server_name(config: &Config) -> Result<Arc<dyn ResolveServerName + Send + Sync>, kube::Error> {
    let Some(name) = config.tls_server_name.clone() else { return Ok(Arc::new(DefaultServerNameResolver::default())) };
    let name = name.try_into().map_err(|error| kube::Error::RustlsTls(kube::client::RustlsTlsError::InvalidServerName(error)))?;
    Ok(Arc::new(FixedServerNameResolver::new(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_a_scheme_gets_one() {
        let text = |t, secure| server(t, secure).map(|u| u.to_string());
        assert_eq!(text("localhost:8080", false).as_deref(), Some("http://localhost:8080/"));
        assert_eq!(text("10.0.0.1", true).as_deref(), Some("https://10.0.0.1/"));
        assert_eq!(text("https://[::1]:6443", false).as_deref(), Some("https://[::1]:6443/"));
        for bad in ["", "a b", "https://", "ftp://x", "https://x/?y=1", "http://:80", "::", "h:99999", "https://u:p@h"] {
            assert_eq!(text(bad, false), None, "{bad}");
        }
    }
}
