//! Who may sign in to the pages: the sources that the configuration names.

use std::sync::Arc;

use daas_core::identity::PasswordSource;
use daas_directory::Users;
use daas_http::identity::{Identity, RedirectSource, Sources, TokenSource};
use daas_proxmox::SignIn;

use crate::error::ComposeError;
use crate::settings::Settings;

/// The sources; absent when nobody could ever sign in.
pub(crate) fn identity(settings: &Settings) -> Result<Option<Identity>, ComposeError> {
    let mut passwords: Vec<Arc<dyn PasswordSource>> = Vec::new();
    if let Some(users) = directory(settings)? {
        passwords.push(Arc::new(users));
    }
    if let Some(sign_in) = proxmox(settings)? {
        passwords.push(Arc::new(sign_in));
    }
    let providers = providers(settings)?;
    let tokens = tokens(settings)?;
    let none = passwords.is_empty() && providers.is_empty() && tokens.is_empty();
    if none && settings.identity.users.is_empty() {
        return Ok(None);
    }
    let sources = Sources { passwords, providers, tokens };
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

/// The providers of OpenID Connect.
#[cfg(feature = "oidc")]
pub(crate) fn providers(settings: &Settings) -> Result<Vec<Arc<dyn RedirectSource>>, ComposeError> {
    let http = &settings.http;
    if !settings.sign_in.oidc.is_empty()
        && http.public_url.is_none()
        && !http.listen.ip().is_loopback()
    {
        let why = "sign_in.oidc needs http.public_url, the address that browsers come back to: \
                   public_url = \"https://desk.school.test\"";
        return Err(ComposeError::Settings { file: None, why: why.to_owned() });
    }
    let mut providers: Vec<Arc<dyn RedirectSource>> = Vec::new();
    for (realm, config) in &settings.sign_in.oidc {
        providers.push(Arc::new(daas_http::identity::Oidc::new(realm, config.clone())?));
    }
    Ok(providers)
}

/// The issuers of bearer tokens.
#[cfg(feature = "oidc")]
pub(crate) fn tokens(settings: &Settings) -> Result<Vec<Arc<dyn TokenSource>>, ComposeError> {
    let mut tokens: Vec<Arc<dyn TokenSource>> = Vec::new();
    for (realm, config) in &settings.sign_in.jwt {
        tokens.push(Arc::new(daas_http::identity::Jwt::new(realm, config.clone())?));
    }
    Ok(tokens)
}

/// None: this program was built without.
#[cfg(not(feature = "oidc"))]
pub(crate) fn tokens(settings: &Settings) -> Result<Vec<Arc<dyn TokenSource>>, ComposeError> {
    match settings.sign_in.jwt.keys().next() {
        None => Ok(Vec::new()),
        Some(realm) => {
            let why = format!(
                "sign_in.jwt.{realm} needs what this program was built without; build it with the \
                 feature oidc"
            );
            Err(ComposeError::Settings { file: None, why })
        }
    }
}

/// None: this program was built without.
#[cfg(not(feature = "oidc"))]
pub(crate) fn providers(settings: &Settings) -> Result<Vec<Arc<dyn RedirectSource>>, ComposeError> {
    match settings.sign_in.oidc.keys().next() {
        None => Ok(Vec::new()),
        Some(realm) => {
            let why = format!(
                "sign_in.oidc.{realm} needs OpenID Connect, which this program was built without; \
                 build it with the feature oidc"
            );
            Err(ComposeError::Settings { file: None, why })
        }
    }
}

#[cfg(all(test, feature = "oidc"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps an error has failed")]
    use super::*;

    const SCHOOL: &str = "
        [sign_in.oidc.school]
        issuer = 'https://login.school.test/realms/school'
        client_id = 'desk'
        client_secret = 'x'
        claims = { name = 'upn', groups = 'roles' }
        [identity.roles]
        'staff@school' = 'operator'
    ";

    fn made(text: &str) -> Result<Option<Identity>, ComposeError> {
        identity(&Settings::parse(text).unwrap())
    }

    #[test]
    fn a_provider_alone_lets_people_sign_in_and_its_groups_are_known() {
        assert!(made("").unwrap().is_none());
        assert!(made(SCHOOL).unwrap().is_some());
        let wrong = SCHOOL.replace("staff@school", "staff@elsewhere");
        let error = made(&wrong).unwrap_err().to_string();
        assert!(error.contains("realms are: school"), "{error}");
        let misspelt = SCHOOL.replace("'upn'", "'upn', nam = 'x'");
        assert!(Settings::parse(&misspelt).unwrap_err().to_string().contains("nam"));
    }

    #[test]
    fn bearer_tokens_need_one_place_for_their_keys() {
        let token =
            "[sign_in.jwt.school]\nissuer = 'https://login.school.test'\naudience = 'desk'\n";
        let error = made(token).unwrap_err().to_string();
        assert!(error.contains("sign_in.jwt.school.jwks_url"), "{error}");
        let by_url = format!("{token}jwks_url = 'https://login.school.test/keys'\n");
        assert!(made(&by_url).unwrap().is_some());
        assert!(made(&format!("{by_url}jwks_file = '/keys'\n")).is_err());
        assert!(
            made(&by_url.replace("https://login.school.test/keys", "http://elsewhere/")).is_err()
        );
        assert!(made(&by_url.replace("'desk'", "''")).is_err());
    }

    #[test]
    fn beyond_this_machine_a_provider_needs_the_address_to_come_back_to() {
        let open = "[http]\nlisten = '0.0.0.0:5000'\nplain_http_beyond_loopback = true\n";
        let error = made(&format!("{open}{SCHOOL}")).unwrap_err().to_string();
        assert!(error.contains("http.public_url"), "{error}");
        let named = format!("{open}public_url = 'https://desk.school.test'\n{SCHOOL}");
        assert!(made(&named).unwrap().is_some());
    }
}
