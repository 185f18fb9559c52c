use std::fmt;
use std::future::Future;

use http::{Method, Request, header};
use serde_json::Value;

use crate::Lease;

/// Why a request about the Lease did not do what it asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// There is no such Lease.
    #[error("the lease does not exist")]
    NotFound,
    /// Somebody wrote it since we read it.
    #[error("the lease changed before our write")]
    Conflict,
    /// Somebody created it first.
    #[error("the lease exists already")]
    AlreadyExists,
    /// Anything else, no answer included: whether a write has happened is unknown.
    #[error("{0}")]
    Other(String),
}

/// Requests about one Lease. Implementations need no retries and no timeouts of their own: the elector has both, and drops a request whose
/// answer no longer matters.
pub trait LeaseClient: Send + Sync + 'static {
    /// GET, never from a cache.
    fn get(&self) -> impl Future<Output = Result<Lease, LeaseError>> + Send;
    /// POST a document.
    fn create(&self, document: &Value) -> impl Future<Output = Result<Lease, LeaseError>> + Send;
    /// PUT a document, refused if its resourceVersion is not the present one.
    fn update(&self, document: &Value) -> impl Future<Output = Result<Lease, LeaseError>> + Send;
}

/// One Lease on an API server.
///
/// Give it a client with a connection of its own: a shared one that hangs, or whose streams are used up by watches, would cost the
/// leadership (reliability row 78). The elector bounds every request by half the renew deadline, connecting included, and drops it then; over
/// HTTP/1.1 that closes its connection, so a dead one is tried once.
#[derive(Clone)]
pub struct KubeLease {
    pub(crate) client: kube::Client,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl KubeLease {
    /// The Lease of this name.
    pub fn new(client: kube::Client, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { client, namespace: namespace.into(), name: name.into() }
    }

    pub(crate) fn collection(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    async fn send(&self, method: Method, path: String, body: Option<&Value>) -> Result<Lease, LeaseError> {
        let mut request = Request::builder().method(method).uri(path).header(header::ACCEPT, "application/json");
        let mut bytes = Vec::new();
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json");
            bytes = body.to_string().into_bytes();
        }
        let request = request.body(bytes).map_err(|error| LeaseError::Other(error.to_string()))?;
        let text = self.client.request_text(request).await.map_err(typed)?;
        let document = serde_json::from_str(&text).map_err(|error| LeaseError::Other(format!("the answer is no JSON: {error}")))?;
        Lease::read(document).ok_or_else(|| LeaseError::Other("the answer is no Lease".to_owned()))
    }
}

fn typed(error: kube::Error) -> LeaseError {
    match &error {
        kube::Error::Api(status) => match status.code {
            404 => LeaseError::NotFound,
            409 if status.reason == "AlreadyExists" => LeaseError::AlreadyExists,
            409 => LeaseError::Conflict,
            code => LeaseError::Other(format!("{code} {}: {}", status.reason, status.message)),
        },
        _ => {
            // The outer error seldom says what happened.
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                let inner_text = inner.to_string();
                if !text.contains(&inner_text) {
                    text = format!("{text}: {inner_text}");
                }
                source = inner.source();
            }
            LeaseError::Other(text)
        }
    }
}

impl LeaseClient for KubeLease {
    async fn get(&self) -> Result<Lease, LeaseError> {
        self.send(Method::GET, format!("{}/{}", self.collection(), self.name), None).await
    }

    async fn create(&self, document: &Value) -> Result<Lease, LeaseError> {
        self.send(Method::POST, self.collection(), Some(document)).await
    }

    async fn update(&self, document: &Value) -> Result<Lease, LeaseError> {
        self.send(Method::PUT, format!("{}/{}", self.collection(), self.name), Some(document)).await
    }
}

impl fmt::Debug for KubeLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeLease").field("namespace", &self.namespace).field("name", &self.name).finish_non_exhaustive()
    }
}
