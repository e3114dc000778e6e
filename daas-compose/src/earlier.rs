//! The environment of the earlier Flask orchestrator, honoured so that its users can change over
//! without a configuration of ours: what it calls a Terraform directory is a module, what it calls
//! an Ansible directory holds a playbook.

use std::path::{Path, PathBuf};
use std::time::Duration;

use daas_ansible::{AnsibleConfig, AnsibleProfile, Play};
use daas_terraform::TerraformConfig;

use crate::error::ComposeError;
use crate::settings::Settings;

/// The playbooks that are looked for in `ANSIBLE_DIR`, in this order.
const PLAYBOOKS: [&str; 4] = ["playbook.yml", "playbook.yaml", "site.yml", "site.yaml"];
/// The profile of templates that name none.
const PROFILE: &str = "linux-desktop";

/// The settings, with each variable that is set over them.
pub(crate) fn honour(
    mut settings: Settings,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Settings, ComposeError> {
    if let Some(port) = variable("ORCHESTRATOR_PORT") {
        settings.http.listen.set_port(parsed("ORCHESTRATOR_PORT", &port, "is not a port")?);
    }
    if let Some(most) = variable("MAX_CONCURRENT_SESSIONS") {
        let most = parsed("MAX_CONCURRENT_SESSIONS", &most, "is not a number")?;
        settings.quotas.all.sessions = Some(most);
    }
    if let Some(seconds) = variable("SESSION_TIMEOUT") {
        let seconds = parsed("SESSION_TIMEOUT", &seconds, "is not a number of seconds")?;
        for template in &mut settings.templates {
            template.idle.idle = Some(Duration::from_secs(seconds));
        }
    }
    if let (Some(url), Some(proxmox)) = (variable("PROXMOX_URL"), &mut settings.proxmox) {
        let mut url: url::Url = parsed("PROXMOX_URL", &url, "is not an address")?;
        url.set_path("/");
        proxmox.url = url;
    }
    if let Some(directory) = variable("TERRAFORM_DIR") {
        terraform(&mut settings, directory.into())?;
    }
    if let Some(directory) = variable("ANSIBLE_DIR") {
        ansible(&mut settings, Path::new(&directory))?;
    }
    Ok(settings)
}

/// Makes the directory the module, on the platform of `[proxmox]` if that is configured.
fn terraform(settings: &mut Settings, module: PathBuf) -> Result<(), ComposeError> {
    if !module.is_dir() {
        return Err(bad("TERRAFORM_DIR", format!("names {}, no directory", module.display())));
    }
    let module = absolute("TERRAFORM_DIR", &module)?;
    match &mut settings.terraform {
        Some(config) => config.module = module,
        None => {
            let mut config = TerraformConfig::new(module, "terraform");
            config.platform = settings.proxmox.as_ref().map(|proxmox| proxmox.name.clone());
            settings.terraform = Some(config);
        }
    }
    Ok(())
}

/// Has the directory's playbook run when a desktop becomes its user's, for templates without a
/// profile.
fn ansible(settings: &mut Settings, directory: &Path) -> Result<(), ComposeError> {
    let found = PLAYBOOKS.iter().map(|name| directory.join(name)).find(|path| path.is_file());
    let Some(playbook) = found else {
        let (directory, names) = (directory.display(), PLAYBOOKS.join(", "));
        return Err(bad("ANSIBLE_DIR", format!("names {directory}, which has none of {names}")));
    };
    let playbook = Some(absolute("ANSIBLE_DIR", &playbook)?);
    let config = settings.ansible.get_or_insert_with(AnsibleConfig::default);
    let assign = Some(Play { playbook, tags: Vec::new(), skip_tags: Vec::new() });
    let profile = AnsibleProfile { assign, ..AnsibleProfile::default() };
    config.profiles.entry(PROFILE.to_owned()).or_insert(profile);
    Ok(())
}

/// What the variable names is relative to where we were started, not to the data directory.
fn absolute(name: &'static str, path: &Path) -> Result<PathBuf, ComposeError> {
    std::path::absolute(path).map_err(|e| bad(name, format!("cannot be used: {e}")))
}

fn parsed<T: std::str::FromStr>(
    name: &'static str,
    text: &str,
    why: &str,
) -> Result<T, ComposeError> {
    text.parse().map_err(|_| bad(name, why.to_owned()))
}

fn bad(name: &'static str, why: String) -> ComposeError {
    ComposeError::Variable { name, why }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]
    use super::*;

    fn settings() -> Settings {
        Settings::parse(
            "[proxmox]\nurl = \"https://a:8006\"\ntoken = \"a@pve!b=c\"\n\
             [[templates]]\nname = \"lab\"\nprovisioner = \"proxmox\"\nsource = \"9000\"\n",
        )
        .unwrap()
    }

    #[test]
    fn each_variable_is_honoured() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("site.yml"), "").unwrap();
        let here = directory.path().to_str().unwrap().to_owned();
        let settings = honour(settings(), |name| {
            let value = match name {
                "ORCHESTRATOR_PORT" => "5001",
                "MAX_CONCURRENT_SESSIONS" => "20",
                "SESSION_TIMEOUT" => "600",
                "PROXMOX_URL" => "https://pve.lab:8006/api2/json",
                "TERRAFORM_DIR" | "ANSIBLE_DIR" => &here,
                _ => return None,
            };
            Some(value.to_owned())
        })
        .unwrap();
        assert_eq!(settings.http.listen.port(), 5001);
        assert_eq!(settings.quotas.all.sessions, Some(20));
        assert_eq!(settings.templates[0].idle.idle, Some(Duration::from_secs(600)));
        assert_eq!(settings.proxmox.as_ref().unwrap().url.as_str(), "https://pve.lab:8006/");
        let terraform = settings.terraform.unwrap();
        assert_eq!(terraform.module, directory.path());
        assert_eq!(terraform.platform.unwrap().as_str(), "proxmox");
        let play = settings.ansible.unwrap().profiles[PROFILE].assign.clone().unwrap();
        assert_eq!(play.playbook.unwrap(), directory.path().join("site.yml"));
    }

    #[test]
    fn a_profile_of_the_configuration_stays() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("playbook.yml"), "").unwrap();
        let mut before = settings();
        let mut config = AnsibleConfig::default();
        config.profiles.insert(PROFILE.to_owned(), AnsibleProfile::default());
        before.ansible = Some(config);
        let here = directory.path().to_str().unwrap().to_owned();
        let after = honour(before, |name| (name == "ANSIBLE_DIR").then(|| here.clone())).unwrap();
        assert_eq!(after.ansible.unwrap().profiles[PROFILE], AnsibleProfile::default());
    }

    #[test]
    fn a_wrong_value_names_its_variable() {
        let check = |wrong: &str, value: &str| {
            let read = |name: &str| (name == wrong).then(|| value.to_owned());
            let error = honour(settings(), read).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        };
        check("SESSION_TIMEOUT", "soon");
        check("ORCHESTRATOR_PORT", "70000");
        check("MAX_CONCURRENT_SESSIONS", "-1");
        check("PROXMOX_URL", "pve");
        check("TERRAFORM_DIR", "/nowhere/at/all");
        check("ANSIBLE_DIR", "/nowhere/at/all");
    }
}
