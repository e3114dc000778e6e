//! Who may sign in to the pages: the sources that the configuration names.

use std::sync::Arc;

use daas_core::identity::PasswordSource;
use daas_directory::Users;
use daas_http::identity::Identity;
use daas_proxmox::SignIn;

use crate::error::ComposeError;
use crate::settings::Settings;

/// The sources; absent when nobody could ever sign in.
pub(crate) fn identity(settings: &Settings) -> Result<Option<Identity>, ComposeError> {
    let mut sources: Vec<Arc<dyn PasswordSource>> = Vec::new();
    if let Some(users) = directory(settings)? {
        sources.push(Arc::new(users));
    }
    if let Some(sign_in) = proxmox(settings)? {
        sources.push(Arc::new(sign_in));
    }
    if sources.is_empty() && settings.identity.users.is_empty() {
        return Ok(None);
    }
    let realms = settings.realms.clone();
    Ok(Some(Identity::new(settings.identity.clone(), realms, sources)?))
}

/// The people of the directory.
pub(crate) fn directory(settings: &Settings) -> Result<Option<Users>, ComposeError> {
    let users = settings.sign_in.directory.clone().map(Users::new);
    Ok(users.transpose()?)
}

/// The people of a realm of the cluster.
pub(crate) fn proxmox(settings: &Settings) -> Result<Option<SignIn>, ComposeError> {
    let Some(config) = settings.sign_in.proxmox.clone() else { return Ok(None) };
    let Some(cluster) = &settings.proxmox else {
        let why = "sign_in.proxmox asks the cluster of [proxmox], which is not configured";
        return Err(ComposeError::Settings { file: None, why: why.to_owned() });
    };
    Ok(Some(SignIn::new(config, cluster)?))
}
