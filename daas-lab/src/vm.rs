//! A virtual machine with a kernel of its own, for what no container can: made from the disk of a
//! guest that has been configured, and reached by SSH.
//!
//! QEMU translates every instruction (`tcg`), so it runs wherever programs run, and is slow: half a
//! minute to boot on two cores. What can be left out is: firmware's way to a kernel, and an initial
//! file system.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use crate::error::LabError;
use crate::guest::{LOG_IN, NspawnGuest, Output};
use crate::kernel;
use crate::lab::Lab;
use crate::process::{self, Process};
use crate::run::Made;
use crate::template::{Recipe, Templates};
use crate::tools::{MACHINE_TOOLS, Missing};

/// Room for what it writes, above what it holds.
const FREE_MIB: u64 = 512;
const MEMORY_MIB: u32 = 1280;
const STEP_DEADLINE: Duration = Duration::from_secs(120);
/// How long it may take from power to the first program run by SSH.
const BOOT_DEADLINE: Duration = Duration::from_secs(240);
/// How far apart it is tried.
const LOOK: Duration = Duration::from_millis(500);
/// How long one program may take in it.
const EXEC_DEADLINE: Duration = Duration::from_secs(120);

/// A running virtual machine. Dropped, it is ended.
pub struct VirtualMachine {
    lab: Arc<Lab>,
    child: Child,
    address: IpAddr,
    key: PathBuf,
    console: PathBuf,
}

impl VirtualMachine {
    /// Boots what is on the disk of `guest`, which must have udev and have been stopped, as the machine
    /// with the network card `mac`. `key` is the private half of a key that root has there. The disk
    /// gets the kernel's modules.
    ///
    /// # Errors
    /// QEMU is missing, the kernel cannot be fetched, or it does not come up (with the end of its
    /// console).
    pub async fn boot(
        lab: &Arc<Lab>,
        guest: &NspawnGuest,
        mac: &str,
        key: &Path,
    ) -> Result<VirtualMachine, LabError> {
        if let Some(missing) = Missing::of(MACHINE_TOOLS) {
            return Err(missing.into());
        }
        let number = lab.next_number();
        let (root, disk) = (guest.root(), lab.base().join(format!("vm{number}.img")));
        let (templates, written) = (Templates::new(&lab.config().cache), disk.clone());
        let made = tokio::task::spawn_blocking(move || {
            let tree = templates.ensure(&Recipe::kernel())?;
            kernel::put(&tree, &root)?;
            make_disk(&root, &written)?;
            newest(&tree, "vmlinuz-")
        });
        let made = made.await;
        let kernel = made.map_err(|e| LabError::io("make a disk")(std::io::Error::other(e)))??;
        let tap = format!("vm{number}");
        lab.ip(&["tuntap", "add", &tap, "mode", "tap"])?;
        lab.ip(&["link", "set", &tap, "master", "br0", "up"])?;
        let console = lab.base().join(format!("{tap}.console"));
        let child = start(lab, &kernel, &disk, &tap, mac, &console)?;
        let mut machine = VirtualMachine {
            lab: Arc::clone(lab),
            child,
            // Known once it has asked for one.
            address: IpAddr::from([0, 0, 0, 0]),
            key: key.to_owned(),
            console,
        };
        machine.wait_up(mac).await?;
        Ok(machine)
    }

    /// Runs a program in it to its end, with `input` on its standard input. Arguments are passed as
    /// they are.
    ///
    /// # Errors
    /// It cannot be reached, or the program takes longer than two minutes. A program that fails is an
    /// answer; so is a connection that fails, with the exit code 255.
    pub async fn exec_with(&self, argv: &[&str], input: &[u8]) -> Result<Output, LabError> {
        let mut ssh = self.lab.command("ssh");
        ssh.arg("-i").arg(&self.key).args(["-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]);
        // Its keys were made for this run, in this lab.
        ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        ssh.args(["-o", "ConnectTimeout=10", "-l", "root"]).arg(self.address.to_string()).arg("--");
        // SSH joins the words with blanks and gives them to a shell.
        ssh.args(argv.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))));
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = ssh.spawn().map_err(LabError::io("start ssh"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read its input is free not to.
            let _ = stdin.write_all(input).await;
        }
        let ended = tokio::time::timeout(EXEC_DEADLINE, child.wait_with_output()).await;
        let doing = || format!("run {} in a virtual machine", argv.first().map_or("", |s| s));
        let ended =
            ended.map_err(|_| LabError::Deadline { doing: doing(), after: EXEC_DEADLINE })?;
        let ended = ended.map_err(LabError::io(doing()))?;
        Ok(Output {
            code: ended.status.code(),
            signal: std::os::unix::process::ExitStatusExt::signal(&ended.status),
            stdout: ended.stdout,
            stderr: ended.stderr,
            truncated: false,
        })
    }

    /// As [`NspawnGuest::log_in`].
    ///
    /// # Errors
    /// As [`Self::exec_with`].
    pub async fn log_in(
        &self,
        user: &str,
        password: &str,
        argv: &[&str],
    ) -> Result<Output, LabError> {
        let words = [LOG_IN.as_slice(), &[user, "login"], argv].concat();
        self.exec_with(&words, format!("{password}\n").as_bytes()).await
    }

    /// The end of what it wrote to its console.
    pub fn console(&self) -> String {
        let text = fs::read(&self.console).unwrap_or_default();
        process::tail(&String::from_utf8_lossy(&text), 4000)
    }

    /// Cuts its power.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn close(mut self) -> Result<(), LabError> {
        self.child.kill().await.map_err(LabError::io("end a virtual machine"))
    }

    /// Waits until programs can be run in it.
    async fn wait_up(&mut self, mac: &str) -> Result<(), LabError> {
        let end = Instant::now() + BOOT_DEADLINE;
        while Instant::now() < end {
            if let Ok(Some(status)) = self.child.try_wait() {
                let (doing, stderr) = ("qemu-system-x86_64".to_owned(), self.console());
                return Err(LabError::Failed { doing, status: status.to_string(), stderr });
            }
            if let Some(address) = self.lab.lease(mac) {
                self.address = address;
                if self.exec_with(&["true"], b"").await.is_ok_and(|said| said.code == Some(0)) {
                    return Ok(());
                }
            }
            sleep(LOOK).await;
        }
        let doing = format!("boot a virtual machine: {}", self.console());
        Err(LabError::Deadline { doing, after: BOOT_DEADLINE })
    }
}

impl fmt::Debug for VirtualMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualMachine").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Writes a tree into a file system of its own.
fn make_disk(tree: &Path, disk: &Path) -> Result<(), LabError> {
    let mut measure = Command::new("du");
    measure.args(["--summarize", "--one-file-system", "--block-size=1M"]).arg(tree);
    let said = process::run(&mut measure, b"", STEP_DEADLINE)?;
    let said = String::from_utf8_lossy(&said);
    let held: u64 = said.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"]).arg(tree).arg(disk);
    make.arg(format!("{}M", held * 11 / 10 + FREE_MIB));
    process::run(&mut make, b"", STEP_DEADLINE).map(drop)
}

/// The newest kernel in a tree.
fn newest(tree: &Path, prefix: &str) -> Result<PathBuf, LabError> {
    let none = || {
        let why = format!("its template has no {prefix}*");
        LabError::io("find a kernel")(std::io::Error::other(why))
    };
    crate::trace::entries(&tree.join("boot"), prefix).into_iter().max().ok_or_else(none)
}

fn start(
    lab: &Lab,
    kernel: &Path,
    disk: &Path,
    tap: &str,
    mac: &str,
    console: &Path,
) -> Result<Child, LabError> {
    // Pinned: what hosts offer as `kvm` may not run a common kernel.
    let mut qemu = lab.command("qemu-system-x86_64");
    qemu.args(["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max", "-smp", "2"]);
    qemu.arg("-m").arg(MEMORY_MIB.to_string());
    qemu.args(["-machine", "q35", "-display", "none", "-no-reboot", "-nodefaults"]);
    qemu.arg("-kernel").arg(kernel).arg("-append");
    qemu.arg("root=/dev/nvme0n1 rw console=ttyS0 net.ifnames=0 mitigations=off");
    qemu.arg("-drive");
    qemu.arg(format!("file={},if=none,id=d0,format=raw,cache=unsafe", disk.display()));
    qemu.args(["-device", "nvme,drive=d0,serial=root"]);
    qemu.arg("-netdev").arg(format!("tap,id=n0,ifname={tap},script=no,downscript=no"));
    qemu.arg("-device").arg(format!("virtio-net-pci,netdev=n0,mac={mac},romfile="));
    qemu.args(["-device", "virtio-rng-pci", "-serial"]);
    qemu.arg(format!("file:{}", console.display()));
    qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = qemu.spawn().map_err(LabError::io("start a virtual machine"))?;
    let started = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Process::of);
    if let Some(process) = started {
        lab.record(&Made::Process(process))?;
    }
    Ok(child)
}
