//! A running local control plane: what is started, in which order, and how it ends.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_apiserver::edge::{EdgeError, EdgeHandle, EdgeOptions, Tokens, bind, serve_on};
use evenkeel_apiserver::{DataError, NotKept, Options, SeededChance, Server, UserInfo, WallClock};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::api::Api;
use crate::kept::Kept;
use crate::kubeconfig::{Access, Kubeconfig, KubeconfigError, default_path};
use crate::manager::{Manager, ManagerError, start_manager};
use crate::nodes::{NodeOptions, run_nodes};

/// Port of a real server; the first that is tried.
pub const DEFAULT_PORT: u16 = 6443;
/// How many ports above [`DEFAULT_PORT`] are tried when it is taken.
const PORTS_TRIED: u16 = 100;

/// Why a control plane could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port that was asked for is taken.
    #[error("port {0} on 127.0.0.1 is in use; give --port another one, or leave it out to take the next free one")]
    PortTaken(u16),
    /// No port is free where one was looked for.
    #[error("no free port on 127.0.0.1 from {DEFAULT_PORT} to {}; give --port one", DEFAULT_PORT + PORTS_TRIED - 1)]
    NoPort,
    /// The server cannot be put behind a socket.
    #[error("cannot serve: {0}")]
    Edge(#[from] EdgeError),
    /// The kubeconfig cannot be written.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// The data file cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data file cannot be written.
    #[error(transparent)]
    NotKept(#[from] NotKept),
    /// The manager refused to start.
    #[error(transparent)]
    Manager(#[from] ManagerError),
    /// The machine gives no random bytes: no token could be made.
    #[error("the system gives no random bytes for a token")]
    NoChance,
}

/// What is started. The default is a whole control plane.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Port on 127.0.0.1. `None`: [`DEFAULT_PORT`] or the next free one.
    pub port: Option<u16>,
    /// Where the kubeconfig goes. `None`: [`default_path`], or a name with the port when another control plane has it.
    pub kubeconfig: Option<PathBuf>,
    /// How often history is compacted; zero: never.
    pub compaction_interval: Duration,
    /// The file that keeps the state across restarts; `None`: it is forgotten at the end.
    pub data: Option<PathBuf>,
    /// Simulated nodes; `None`: none.
    pub nodes: Option<NodeOptions>,
    /// Whether the manager runs.
    pub manager: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            port: None,
            kubeconfig: None,
            compaction_interval: Duration::from_secs(300),
            data: None,
            nodes: Some(NodeOptions::default()),
            manager: true,
        }
    }
}

/// A running control plane. [`Cluster::stop`] ends it in order; dropping it ends it at once.
pub struct Cluster {
    server: Arc<Server>,
    edge: EdgeHandle,
    kubeconfig: Kubeconfig,
    access: Access,
    manager: Option<Manager>,
    tasks: Vec<JoinHandle<()>>,
}

impl Cluster {
    /// Starts a control plane; it answers when this returns.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(options: ClusterOptions) -> Result<Self, StartError> {
        let mut kept = Kept::open(options.data.as_deref())?;
        // The server names its address, so the port comes first.
        let (listener, addr) = listen(options.port, kept.port)?;
        let server = kept.server(server_options(&options, addr.port())?, addr.port()).await?;
        let Kept { identity: tls, token, .. } = kept;
        let tokens = Tokens::from([(token.clone(), UserInfo::admin())]);
        let edge = serve_on(listener, Arc::clone(&server), EdgeOptions { addr, tls, tokens })?;
        let access = Access { server: format!("https://{}", edge.local_addr()), ca_pem: edge.ca_pem().to_owned(), token };
        let kubeconfig = write_kubeconfig(options.kubeconfig.as_ref(), &access, edge.local_addr().port())?;

        let mut tasks = Vec::new();
        if !options.compaction_interval.is_zero() {
            tasks.push(tokio::spawn(compact(Arc::clone(&server), options.compaction_interval)));
        }
        if let Some(nodes) = options.nodes {
            tasks.push(tokio::spawn(run_nodes(Arc::clone(&server), nodes)));
        }
        let manager = match options.manager {
            true => start_manager(kubeconfig.path()).await?,
            false => None,
        };
        Ok(Self { server, edge, kubeconfig, access, manager, tasks })
    }

    /// The server in this process.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// How clients reach it.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The kubeconfig, as an absolute path.
    pub fn kubeconfig(&self) -> &std::path::Path {
        self.kubeconfig.path()
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.edge.local_addr().port()
    }

    /// Whether a manager runs in this process.
    pub fn has_manager(&self) -> bool {
        self.manager.is_some()
    }

    /// A client of user `admin` in this process, as the owner of the kubeconfig would be one.
    pub fn admin(&self, agent: &'static str) -> Api {
        Api::new(Arc::clone(&self.server), "admin", agent)
    }

    /// Ends it: first the manager, which still needs the server, then the nodes, then the server; last the data file is closed.
    pub async fn stop(mut self) {
        if let Some(manager) = self.manager.take() {
            manager.stop().await;
        }
        for task in self.tasks.drain(..) {
            task.abort();
        }
        self.edge.shutdown().await;
        self.server.close();
    }
}

/// Listens on the port that was asked for, or on the first free one: that of the control plane which had the data file before comes first.
fn listen(asked: Option<u16>, kept: Option<u16>) -> Result<(TcpListener, SocketAddr), StartError> {
    let tries: Vec<u16> = match asked {
        Some(port) => vec![port],
        None => kept.into_iter().chain(DEFAULT_PORT..DEFAULT_PORT + PORTS_TRIED).collect(),
    };
    for port in tries {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match bind(wanted) {
            Ok(listener) => {
                let addr = listener.local_addr().map_err(|source| EdgeError::Listen { addr: wanted, source })?;
                return Ok((listener, addr));
            }
            Err(EdgeError::AddressInUse { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(asked.map_or(StartError::NoPort, StartError::PortTaken))
}

fn server_options(options: &ClusterOptions, port: u16) -> Result<Options, StartError> {
    let mut seed = [0; 8];
    random(&mut seed)?;
    Ok(Options {
        clock: Arc::new(WallClock),
        chance: Arc::new(SeededChance::new(u64::from_le_bytes(seed))),
        compaction_interval: Some(options.compaction_interval).filter(|interval| !interval.is_zero()),
        service_cidr: (Ipv4Addr::new(10, 96, 0, 0), 16),
        advertise: Some((Ipv4Addr::LOCALHOST, port)),
        ..Options::default()
    })
}

fn write_kubeconfig(asked: Option<&PathBuf>, access: &Access, port: u16) -> Result<Kubeconfig, KubeconfigError> {
    if let Some(path) = asked {
        return Kubeconfig::write(path, access);
    }
    let path = default_path();
    match Kubeconfig::write(&path, access) {
        Err(KubeconfigError::InUse(_)) => Kubeconfig::write(&path.with_file_name(format!("kubeconfig-{port}")), access),
        outcome => outcome,
    }
}

async fn compact(server: Arc<Server>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        server.compact();
    }
}

/// 256 random bits, as hexadecimal digits.
pub(crate) fn random_token() -> Result<String, StartError> {
    let mut bytes = [0; 32];
    random(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn random(bytes: &mut [u8]) -> Result<(), StartError> {
    rustls::crypto::ring::default_provider().secure_random.fill(bytes).map_err(|_| StartError::NoChance)
}
