//! The way to a server, as a kubeconfig with a token and an authority says it.

use std::path::Path;

use base64::Engine as _;
use serde_json::Value;

use super::{Https, NoAnswer, Trust};

/// Address, token and authority of a server.
#[derive(Debug, Clone)]
pub struct Access {
    /// `https://HOST:PORT`.
    pub server: String,
    /// Bearer token.
    pub token: String,
    /// Whom to trust.
    pub trust: Trust,
}

impl Access {
    /// Reads the only cluster and user of a kubeconfig.
    ///
    /// # Errors
    /// When the file is none such.
    pub fn read(kubeconfig: &Path) -> Result<Access, NoAnswer> {
        let wrong = |what: &str| NoAnswer::Settings(format!("{}: {what}", kubeconfig.display()));
        let text = std::fs::read_to_string(kubeconfig).map_err(|error| wrong(&error.to_string()))?;
        let doc: Value = serde_saphyr::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
        let (cluster, user) = (&doc["clusters"][0]["cluster"], &doc["users"][0]["user"]);
        let server = cluster["server"].as_str().ok_or_else(|| wrong("it names no server"))?;
        let trust = match cluster["certificate-authority-data"].as_str() {
            None => Trust::Anyone,
            Some(data) => {
                let pem = base64::engine::general_purpose::STANDARD.decode(data).ok().and_then(|pem| String::from_utf8(pem).ok());
                Trust::Authority(pem.ok_or_else(|| wrong("its authority is no certificate"))?)
            }
        };
        Ok(Access { server: server.to_owned(), token: user["token"].as_str().unwrap_or_default().to_owned(), trust })
    }

    /// A client.
    ///
    /// # Errors
    /// When the settings lead nowhere.
    pub fn client(&self) -> Result<Https, NoAnswer> {
        Https::new(&self.server, &self.token, &self.trust)
    }
}
