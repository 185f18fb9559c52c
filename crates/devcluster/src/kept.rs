//! What a control plane finds again when it starts with the data file of an earlier one: beside the server's objects, the certificates, the
//! token and the port that kubeconfigs of the earlier one name.

use std::path::Path;
use std::sync::Arc;

use evenkeel_apiserver::edge::{Identity, LOCAL_NAMES};
use evenkeel_apiserver::{DataError, DataFile, Options, Server};

use crate::cluster::{StartError, random_token};

const CERTIFICATES: &str = "certificates";
const TOKEN: &str = "token";
const PORT: &str = "port";

/// The way in of a control plane, and the file that holds it, if any.
pub(crate) struct Kept {
    file: Option<DataFile>,
    /// Certificates.
    pub(crate) identity: Identity,
    /// Bearer token of user `admin`.
    pub(crate) token: String,
    /// Port on which the earlier control plane listened.
    pub(crate) port: Option<u16>,
}

impl Kept {
    /// Reads the file at `path`, or makes it; without a path everything is new and stays in memory.
    pub(crate) fn open(path: Option<&Path>) -> Result<Kept, StartError> {
        let Some(path) = path else {
            return Ok(Kept { file: None, identity: Identity::generate(&LOCAL_NAMES)?, token: random_token()?, port: None });
        };
        let file = DataFile::open(path)?;
        let text = |name| Ok::<_, DataError>(file.note(name)?.and_then(|bytes| String::from_utf8(bytes).ok()));
        let identity = match text(CERTIFICATES)? {
            Some(pem) => Identity::from_pem(&pem)?,
            None => {
                let identity = Identity::generate(&LOCAL_NAMES)?;
                file.write_note(CERTIFICATES, identity.to_pem().as_bytes())?;
                identity
            }
        };
        let token = match text(TOKEN)? {
            Some(token) => token,
            None => {
                let token = random_token()?;
                file.write_note(TOKEN, token.as_bytes())?;
                token
            }
        };
        let port = text(PORT)?.and_then(|port| port.parse().ok());
        Ok(Kept { file: Some(file), identity, token, port })
    }

    /// Notes the port, and makes the server; all that it holds from its start is kept when this returns.
    pub(crate) async fn server(&mut self, options: Options, port: u16) -> Result<Arc<Server>, StartError> {
        let Some(file) = self.file.take() else { return Ok(Server::new(options)) };
        if self.port != Some(port) {
            file.write_note(PORT, port.to_string().as_bytes())?;
        }
        let server = Server::open(options, file)?;
        server.settled().await?;
        Ok(server)
    }
}
