use std::{path::PathBuf, time::Duration};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

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
        source: Box<kube::config::KubeconfigError>,
    },
    /// No kubeconfig was given and this is no pod.
    #[error("no --kubeconfig was given, and there is no in-cluster configuration: {0}")]
    InCluster(Box<kube::config::InClusterError>),
    /// `--master` is no URL.
    #[error("--master {0:?} is not a URL")]
    Master(String),
    /// Certificates or keys that cannot be used.
    #[error("cannot set up the connection: {0}")]
    Client(Box<kube::Error>),
}

/// Connections are given up after this long; the API server is near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the configuration without connecting.
pub async fn load(options: &ConnectOptions) -> Result<Config, ConnectError> {
    let mut config = match &options.kubeconfig {
        Some(path) => {
            let shown = path.display().to_string();
            let wrong = |source| ConnectError::Kubeconfig { path: shown.clone(), source: Box::new(source) };
            let file = Kubeconfig::read_from(path).map_err(wrong)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(wrong)?
        }
        None if options.master.is_some() => Config::new(http::Uri::from_static("https://localhost")),
        None => Config::incluster().map_err(|e| ConnectError::InCluster(Box::new(e)))?,
    };
    if let Some(master) = &options.master {
        config.cluster_url = master.parse().map_err(|_| ConnectError::Master(master.clone()))?;
    }
    // A retry layer below us would send a POST twice; reads of watches have time-outs of their own.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = None;
    Ok(config)
}

/// A client over one connection pool, for all loops.
pub async fn connect(options: &ConnectOptions) -> Result<Client, ConnectError> {
    Client::try_from(load(options).await?).map_err(|e| ConnectError::Client(Box::new(e)))
}
