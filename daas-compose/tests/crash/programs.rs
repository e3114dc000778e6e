//! Machines by `terraform`, guests by `ansible-playbook`: the real programs, on the simulated
//! cluster. The playbook works on a directory instead of a guest, for drawn guests have no Python.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use daas_ansible::{AnsibleConfig, AnsibleConfigurator, AnsibleProfile};
use daas_core::crash::{Backends, Opened};
use daas_core::directory::ComputerAccounts;
use daas_core::ids::{DeploymentId, SessionId};
use daas_core::secret::{Secret, random_token};
use daas_core::template::Template;
use daas_lab::tools;
use daas_lab::trials::{Needs, visible};
use daas_terraform::{TerraformConfig, TerraformProvisioner};
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::{Cluster, a_while, template};

/// Why the programs cannot run here; `None` when they can.
pub(crate) fn missing() -> Option<String> {
    let no_ansible = || "needs ansible-playbook; to run it: cargo xtask test --install".to_owned();
    Needs::Terraform.missing().or_else(|| ansible().is_none().then(no_ansible))
}

fn ansible() -> Option<PathBuf> {
    tools::ansible_playbook(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

pub(crate) fn make() -> LocalBoxFuture<'static, Arc<dyn Backends>> {
    async { Arc::new(Programs::new().await) as Arc<dyn Backends> }.boxed_local()
}

/// The programs, the cluster and a directory.
#[derive(Debug)]
struct Programs {
    cluster: Cluster,
    accounts: Arc<Accounts>,
    /// Whether programs die with a process that is killed, as where a service manager does it; else
    /// they are left as its `Drop` leaves them. Every other world.
    killed_whole: bool,
}

impl Programs {
    async fn new() -> Self {
        let cluster = Cluster::new(a_while()).await;
        let (_, ca_pem, token) = cluster.access();
        fs::write(cluster.path("ca.pem"), ca_pem).unwrap();
        fs::write(cluster.path("token"), token).unwrap();
        static WORLDS: AtomicUsize = AtomicUsize::new(0);
        let killed_whole = WORLDS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        Self { cluster, accounts: Arc::default(), killed_whole }
    }

    fn terraform(&self) -> TerraformConfig {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let module = source.join("../daas-terraform/modules/proxmox-curl");
        let mut config = TerraformConfig::new(module, self.cluster.path("terraform"));
        let (url, ca) = (self.cluster.access().0, self.cluster.path("ca.pem"));
        config.variables.insert("proxmox_url".into(), url.into());
        config.variables.insert("proxmox_ca".into(), ca.to_str().unwrap().into());
        // The module looks for no loopback address, and drawn guests have no other: the platform's
        // word on it is enough.
        config.variables.insert("address_seconds".into(), 0.into());
        config.secret_files.insert("proxmox_token".into(), self.cluster.path("token"));
        config.interrupt_grace = Duration::from_secs(5);
        config
    }

    fn ansible(&self) -> AnsibleConfig {
        let config = AnsibleConfig { program: ansible().unwrap(), ..AnsibleConfig::default() };
        let mut config = config.in_directory(&self.cluster.path(""));
        let plays = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/plays");
        let text = format!(
            "prepare.playbook = {0:?}\nassign.playbook = {0:?}\njoin.domain = 'lab.test'\n\
             variables.place = {1:?}\n",
            plays.join("desktop.yml"),
            self.cluster.path("guests/{{ daas_session }}"),
        );
        let profile: AnsibleProfile = toml::from_str(&text).unwrap();
        config.profiles.insert("lab".to_owned(), profile);
        config
    }
}

#[async_trait(?Send)]
impl Backends for Programs {
    fn template(&self) -> Template {
        Template { profile: Some("lab".to_owned()), ..template("terraform", "ansible") }
    }

    fn account(&self) -> Option<(String, Secret<String>)> {
        Some(("alice".to_owned(), Secret::new("it's a secret".to_owned())))
    }

    async fn open(&self, deployment: &DeploymentId) -> daas_core::Result<Opened> {
        let native = self.cluster.native(deployment)?;
        let platform = Some(Arc::clone(&native));
        let terraform = TerraformProvisioner::new(self.terraform(), deployment.clone(), platform)?;
        let config = self.ansible();
        let ssh_keys = vec![daas_ssh::public_key_of(&config.key_file)?];
        let ansible = AnsibleConfigurator::new(config, Some(Arc::clone(&self.accounts) as _))?;
        Ok(Opened {
            provisioners: vec![native, Arc::new(terraform)],
            configurators: vec![Arc::new(ansible)],
            ssh_keys,
        })
    }

    async fn kill(&self) {
        if self.killed_whole {
            let processes = processes_of(&self.cluster.path(""));
            for process in processes.into_iter().filter_map(Pid::from_raw) {
                // It may end in between, which is what was wanted.
                let _ = kill_process(process, Signal::KILL);
            }
        }
    }

    async fn machines(&self) -> Vec<String> {
        self.cluster.machines()
    }

    async fn effects(&self) -> Vec<String> {
        self.accounts.0.lock().unwrap().keys().cloned().collect()
    }

    /// The directories of runs, and every process that has to do with them.
    async fn traces(&self) -> Vec<String> {
        let runs = ["terraform", "ansible"].map(|name| self.cluster.path(name));
        let there = runs.iter().filter(|runs| runs.exists());
        let files = there.flat_map(|runs| visible(runs).unwrap());
        let files = files.map(|path| path.display().to_string());
        files.chain(processes_of(&self.cluster.path("")).into_iter().map(shown)).collect()
    }

    async fn doubled(&self) -> Vec<String> {
        self.cluster.two_at_once()
    }

    async fn close(&self) {
        self.cluster.close().await;
    }
}

/// The processes, ourselves left out, that name `directory` or work in it.
fn processes_of(directory: &Path) -> Vec<i32> {
    let own = std::process::id().to_string();
    let numbers = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let numbers = numbers.filter_map(|name| name.into_string().ok()).filter(|n| *n != own);
    let name = directory.to_str().unwrap();
    let is_of_it = |number: &i32| {
        // One that ends meanwhile is none.
        let names = |file| {
            let text = fs::read(format!("/proc/{number}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&text).contains(name)
        };
        let place = fs::read_link(format!("/proc/{number}/cwd")).unwrap_or_default();
        names("cmdline") || names("environ") || place.starts_with(directory)
    };
    numbers.filter_map(|number| number.parse().ok()).filter(is_of_it).collect()
}

fn shown(process: i32) -> String {
    let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    format!("process {process} {}", String::from_utf8_lossy(&line).replace('\0', " "))
}

/// A directory in memory: the session in the mark, by the account's name.
#[derive(Debug, Default)]
struct Accounts(Mutex<BTreeMap<String, SessionId>>);

#[async_trait]
impl ComputerAccounts for Accounts {
    fn account(&self, session: &SessionId) -> String {
        format!("CN={session}")
    }

    async fn stage(&self, session: &SessionId) -> daas_core::Result<Secret<String>> {
        self.0.lock().unwrap().insert(self.account(session), session.clone());
        Ok(random_token())
    }

    async fn remove(&self, account: &str) -> daas_core::Result<()> {
        self.0.lock().unwrap().remove(account);
        Ok(())
    }

    async fn list(&self) -> daas_core::Result<Vec<(SessionId, String)>> {
        let accounts = self.0.lock().unwrap();
        Ok(accounts.iter().map(|(key, session)| (session.clone(), key.clone())).collect())
    }
}
