//! A lab: a network of its own with a DHCP server, a place for disks, and the record that lets
//! everything be found again.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::LinkNameSpaceType;

use crate::cgroup;
use crate::domain::facts;
use crate::error::LabError;
use crate::process::{self, Process};
use crate::run::{Found, Made, Run};
use crate::sweep;
use crate::tools::{GUEST_TOOLS, Missing};
use crate::trace;

/// The address of the lab's own end of the bridge; guests have 10.77.0.50 to 10.77.0.200.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// How long one call of `ip` and the like may take.
const STEP_DEADLINE: Duration = Duration::from_secs(20);

/// Where a lab keeps what it makes.
#[derive(Debug, Clone)]
pub struct LabConfig {
    /// Records of runs, one directory each. Default `/run/daas-lab`, or `DAAS_LAB_STATE`.
    pub state: PathBuf,
    /// Disks of guests. Default: the directory for temporary files.
    pub temp: PathBuf,
    /// Templates. Default `$XDG_CACHE_HOME/daas-lab` or `~/.cache/daas-lab`, or `DAAS_LAB_CACHE`.
    pub cache: PathBuf,
}

impl LabConfig {
    /// The defaults, as the environment has them.
    pub fn from_env() -> LabConfig {
        let set = |name: &str| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let home = || set("HOME").map(|home| home.join(".cache"));
        let cache = || set("XDG_CACHE_HOME").or_else(home);
        // Without a home, where system programs keep theirs.
        let cache = || cache().unwrap_or_else(|| PathBuf::from("/var/cache"));
        LabConfig {
            state: set("DAAS_LAB_STATE").unwrap_or_else(|| PathBuf::from("/run/daas-lab")),
            temp: std::env::temp_dir(),
            cache: set("DAAS_LAB_CACHE").unwrap_or_else(|| cache().join("daas-lab")),
        }
    }
}

/// An open lab. Dropping it clears it; [`Lab::close`] also says whether that succeeded.
#[derive(Debug)]
pub struct Lab {
    config: LabConfig,
    run: Run,
    base: PathBuf,
    dhcp: Mutex<Option<Child>>,
    numbers: AtomicU32,
    closed: AtomicBool,
}

impl Lab {
    /// Opens a lab, after clearing what killed runs left.
    ///
    /// # Errors
    /// Not root, a program is missing (with the line that installs it), or the kernel refuses.
    pub fn open(config: LabConfig) -> Result<Lab, LabError> {
        if let Some(missing) = Missing::of(GUEST_TOOLS) {
            return Err(missing.into());
        }
        if let Err(error) = sweep::sweep(&config.state) {
            // Names are never used again, so what is left there is in nobody's way here.
            tracing::warn!(%error, "a killed run is not cleared; run `daas-lab sweep`");
        }
        let run = Run::begin(&config.state)?;
        let base = config.temp.join(run.name());
        // From here on dropping the lab clears what has been made so far.
        let lab = Lab {
            config,
            run,
            base,
            dhcp: Mutex::new(None),
            numbers: AtomicU32::new(0),
            closed: AtomicBool::new(false),
        };
        lab.make_base()?;
        lab.make_network()?;
        lab.start_dhcp()?;
        Ok(lab)
    }

    /// The run's id, seven characters.
    pub fn id(&self) -> &str {
        &self.run.id
    }

    /// The network namespace's name; its file is in `/run/netns`.
    pub fn namespace(&self) -> String {
        self.run.name()
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &LabConfig {
        &self.config
    }

    /// Moves the calling thread into the lab's network, and with it every thread it starts later.
    /// Call it before building a runtime: threads that run already stay where they are.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn enter(&self) -> Result<(), LabError> {
        enter(&self.namespace_path()).map_err(LabError::io("enter the lab's network"))
    }

    /// A command that will run inside the lab's network. It dies with the value that was spawned.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace_path().display())).arg("--").arg(program);
        command.kill_on_drop(true);
        command
    }

    /// Connects to an address in the lab's network, from wherever the caller is.
    ///
    /// # Errors
    /// Nobody listens, or no answer within `deadline`.
    pub async fn dial(&self, to: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
        let path = self.namespace_path();
        let dialled = tokio::task::spawn_blocking(move || {
            // A thread of its own: a pool's thread must not stay in the namespace.
            std::thread::spawn(move || {
                enter(&path)?;
                TcpStream::connect_timeout(&to, deadline)
            })
            .join()
        });
        match dialled.await {
            Ok(Ok(stream)) => stream,
            _ => Err(io::Error::other("the dialling thread ended early")),
        }
    }

    /// The address leased to a network card (a MAC address in any case).
    pub fn lease(&self, mac: &str) -> Option<IpAddr> {
        let leases = fs::read_to_string(self.base.join("leases")).unwrap_or_default();
        find_lease(&leases, mac)
    }

    /// Ends everything in the lab and removes it. Calling it again does nothing.
    ///
    /// # Errors
    /// Something would not go; it stays recorded, and `daas-lab sweep` tries again.
    pub fn close(&self) -> Result<(), LabError> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let found = Found::read(&self.run.dir)
            .ok_or_else(|| LabError::Left(vec![self.run.dir.display().to_string()]))?;
        let dhcp = self.dhcp.lock().ok().and_then(|mut dhcp| dhcp.take());
        if let Some(mut child) = dhcp {
            // Waited for here, or it stays a zombie of this process.
            child.kill().map_err(LabError::io("end dnsmasq"))?;
            child.wait().map_err(LabError::io("end dnsmasq"))?;
        }
        sweep::clear(&found)
    }

    /// Where the run keeps its disks and logs.
    pub(crate) fn base(&self) -> &Path {
        &self.base
    }

    /// A number no other guest of this run has.
    pub(crate) fn next_number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Writes down what is about to be made.
    pub(crate) fn record(&self, made: &Made) -> Result<(), LabError> {
        self.run.record(made)
    }

    pub(crate) fn namespace_path(&self) -> PathBuf {
        Path::new(trace::NAMESPACES).join(self.namespace())
    }

    /// Runs `ip` in the lab's network.
    pub(crate) fn ip(&self, arguments: &[&str]) -> Result<(), LabError> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.namespace()]).args(arguments);
        process::run(&mut command, b"", STEP_DEADLINE).map(drop)
    }

    fn make_base(&self) -> Result<(), LabError> {
        use std::os::unix::fs::DirBuilderExt;
        self.record(&Made::Directory(self.base.clone()))?;
        // Not private to root: a guest's users walk through it to their own root.
        fs::DirBuilder::new()
            .mode(0o711)
            .create(&self.base)
            .map_err(LabError::io(format!("make {}", self.base.display())))?;
        // Each guest has a group below this one.
        cgroup::path(&self.namespace()).map_or(Ok(()), |group| {
            fs::create_dir(&group).map_err(LabError::io(format!("make {}", group.display())))
        })
    }

    fn make_network(&self) -> Result<(), LabError> {
        let name = self.namespace();
        self.record(&Made::Namespace(name.clone()))?;
        let mut add = Command::new("ip");
        process::run(add.args(["netns", "add", &name]), b"", STEP_DEADLINE)?;
        self.ip(&["link", "set", "lo", "up"])?;
        self.ip(&["link", "add", "br0", "type", "bridge"])?;
        self.ip(&["addr", "add", &format!("{GATEWAY}/24"), "dev", "br0"])?;
        self.ip(&["link", "set", "br0", "up"])
    }

    fn start_dhcp(&self) -> Result<(), LabError> {
        let file = |name: &str| self.base.join(name).display().to_string();
        let log = fs::File::create(file("dnsmasq.log")).map_err(LabError::io("make a log"))?;
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.namespace_path().display()))
            .args(["--", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null"])
            .args(["--interface=br0", "--bind-interfaces", "--except-interface=lo"])
            .args(["--dhcp-range=10.77.0.50,10.77.0.200,1h", "--dhcp-authoritative"])
            // Pinging a free address first costs three seconds a lease, one after the other.
            .args(["--no-ping", "--dhcp-rapid-commit", "--no-resolv", "--no-hosts"])
            // A domain's guests find it as any other name; without one nobody answers.
            .arg(format!("--server=/{}/{}", facts::DOMAIN, facts::ADDRESS))
            // Its address has a name too, or each Kerberos client waits ten seconds for one.
            .arg(format!("--host-record={},{}", facts::HOST, facts::ADDRESS))
            .arg(format!("--dhcp-leasefile={}", file("leases")))
            .arg(format!("--pid-file={}", file("dnsmasq.pid")))
            .args(["--log-facility=-", "--log-dhcp"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut child = command.spawn().map_err(LabError::io("start dnsmasq"))?;
        let started = i32::try_from(child.id()).ok().and_then(Process::of);
        if let Some(process) = started {
            self.record(&Made::Process(process))?;
        }
        // The pid file is written once the sockets are bound.
        let ready =
            process::poll(Duration::from_secs(10), Duration::from_millis(5), || {
                match child.try_wait() {
                    Ok(None) if Path::new(&file("dnsmasq.pid")).exists() => Some(true),
                    Ok(None) => None,
                    _ => Some(false),
                }
            });
        if let Ok(mut dhcp) = self.dhcp.lock() {
            *dhcp = Some(child);
        }
        match ready {
            Some(true) => Ok(()),
            _ => Err(LabError::Failed {
                doing: "start dnsmasq".to_owned(),
                status: "not ready".to_owned(),
                stderr: process::tail(
                    &fs::read_to_string(file("dnsmasq.log")).unwrap_or_default(),
                    2000,
                ),
            }),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, id = self.id(), "lab not cleared; run `daas-lab sweep`");
        }
    }
}

/// Moves the calling thread into the network of this namespace file.
pub(crate) fn enter(namespace: &Path) -> io::Result<()> {
    use std::os::fd::AsFd;
    let file = fs::File::open(namespace)?;
    rustix::thread::move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// A line of dnsmasq's file is `expiry mac address name client-id`.
fn find_lease(leases: &str, mac: &str) -> Option<IpAddr> {
    leases.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let found = fields.next()?.eq_ignore_ascii_case(mac);
        let address = fields.next()?.parse().ok()?;
        found.then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_lease_by_mac_in_any_case() {
        let leases = "1790 bc:24:11:00:00:07 10.77.0.99 desk ff:1\nnonsense\n";
        let wanted = Some(IpAddr::V4(Ipv4Addr::new(10, 77, 0, 99)));
        assert_eq!(find_lease(leases, "BC:24:11:00:00:07"), wanted);
        assert_eq!(find_lease(leases, "BC:24:11:00:00:08"), None);
    }
}
