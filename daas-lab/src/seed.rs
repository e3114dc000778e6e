//! First boot: writes a machine's identity into its fresh disk, as cloud-init would from the seed.
//! Only ever before the guest has run: afterwards its files are not to be trusted with our paths.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use daas_sim::guest::Seed;

use crate::error::LabError;
use crate::guest::GUEST_PATH;
use crate::lab::GATEWAY;
use crate::process;

const STEP_DEADLINE: Duration = Duration::from_secs(30);

/// Writes the seed into the tree at `root`.
///
/// # Errors
/// A value that is not allowed, or a file that cannot be written.
pub(crate) fn plant(root: &Path, seed: &Seed) -> Result<(), LabError> {
    check(seed)?;
    let name = &seed.hostname;
    write(root, "etc/hostname", &format!("{name}\n"), 0o644)?;
    write(root, "etc/hosts", &format!("127.0.0.1 localhost\n127.0.1.1 {name}\n"), 0o644)?;
    write(root, "etc/machine-id", "", 0o444)?;
    write(root, "etc/systemd/network/10-lab.network", &network(seed), 0o644)?;
    for kind in ["ed25519", "ecdsa"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-N", "", "-C", name, "-t", kind, "-f"]);
        keygen.arg(root.join(format!("etc/ssh/ssh_host_{kind}_key")));
        process::run(&mut keygen, b"", STEP_DEADLINE)?;
    }
    let user = seed.user.as_deref().unwrap_or("root");
    if user != "root" {
        make_user(root, user)?;
    }
    if let Some(hash) = &seed.password_hash {
        chroot(root, &["chpasswd", "-e"], format!("{user}:{hash}\n").as_bytes())?;
    }
    authorize(root, user, &seed.ssh_keys)
}

/// What must hold before a value of the seed reaches a file or an argument.
fn check(seed: &Seed) -> Result<(), LabError> {
    let host = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let name = &seed.hostname;
    let edge = name.starts_with('-') || name.ends_with('-');
    if name.is_empty() || name.len() > 63 || edge || !name.chars().all(host) {
        return invalid("host name", name, "a DNS label");
    }
    if let Some(user) = &seed.user {
        let mut chars = user.chars();
        let first = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
        let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        if !first || user.len() > 32 || !chars.all(rest) {
            return invalid("user", user, "[a-z_][a-z0-9_-]{0,31}");
        }
    }
    let octet = |part: &str| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit());
    if seed.mac.split(':').count() != 6 || !seed.mac.split(':').all(octet) {
        return invalid("MAC address", &seed.mac, "six octets with colons");
    }
    let hash = seed.password_hash.as_deref().unwrap_or_default();
    if hash.contains([':', '\n', '\r', '\0']) {
        return invalid("password hash", "[redacted]", "a crypt(3) string");
    }
    match seed.ssh_keys.iter().find(|key| key.contains(['\n', '\r', '\0'])) {
        Some(key) => invalid("SSH key", key, "one line"),
        None => Ok(()),
    }
}

fn invalid(what: &'static str, value: &str, wanted: &'static str) -> Result<(), LabError> {
    Err(LabError::Invalid { what, value: value.to_owned(), wanted })
}

fn network(seed: &Seed) -> String {
    let rest = match seed.address {
        Some(address) => format!("Address={address}/24\nGateway={GATEWAY}\nDNS={GATEWAY}\n"),
        // The lease belongs to the MAC address, as the hypervisor's side expects.
        None => "DHCP=ipv4\n\n[DHCPv4]\nClientIdentifier=mac\n".to_owned(),
    };
    format!("[Match]\nMACAddress={}\n\n[Network]\nLinkLocalAddressing=no\n{rest}", seed.mac)
}

fn make_user(root: &Path, user: &str) -> Result<(), LabError> {
    let passwd = fs::read_to_string(root.join("etc/passwd"))
        .map_err(LabError::io("read the template's passwd"))?;
    if passwd.lines().any(|line| line.split(':').next() == Some(user)) {
        return invalid("user", user, "a name the template does not use already");
    }
    chroot(root, &["useradd", "-m", "-s", "/bin/bash", "--", user], b"")?;
    // As cloud-init's default user.
    let rule = format!("{user} ALL=(ALL) NOPASSWD:ALL\n");
    write(root, "etc/sudoers.d/90-cloud-init-users", &rule, 0o440)
}

fn authorize(root: &Path, user: &str, keys: &[String]) -> Result<(), LabError> {
    if keys.is_empty() {
        return Ok(());
    }
    let home = if user == "root" { root.join("root") } else { root.join("home").join(user) };
    let owner = fs::metadata(&home).map_err(LabError::io("find the user's home"))?;
    let ssh = home.join(".ssh");
    if !ssh.is_dir() {
        fs::DirBuilder::new().mode(0o700).create(&ssh).map_err(LabError::io("make .ssh"))?;
    }
    let file = ssh.join("authorized_keys");
    write(&ssh, "authorized_keys", &format!("{}\n", keys.join("\n")), 0o600)?;
    use std::os::unix::fs::MetadataExt;
    for path in [&ssh, &file] {
        chown(path, Some(owner.uid()), Some(owner.gid())).map_err(LabError::io("own .ssh"))?;
    }
    Ok(())
}

fn chroot(root: &Path, command: &[&str], input: &[u8]) -> Result<(), LabError> {
    let mut chroot = Command::new("chroot");
    chroot.arg(root).args(command).env_clear().env("PATH", GUEST_PATH);
    process::run(&mut chroot, input, STEP_DEADLINE).map(drop)
}

fn write(root: &Path, name: &str, text: &str, mode: u32) -> Result<(), LabError> {
    use std::io::Write;
    let path = root.join(name);
    let opened = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&path)
        .and_then(|mut file| {
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.write_all(text.as_bytes())
        });
    opened.map_err(LabError::io(format!("write {name} of a guest")))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn seed() -> Seed {
        Seed {
            hostname: "desktop-2345678".to_owned(),
            user: Some("alice".to_owned()),
            password_hash: Some("$6$salt$hash".to_owned()),
            ssh_keys: vec!["ssh-ed25519 AAAA a".to_owned()],
            mac: "BC:24:11:00:00:07".to_owned(),
            address: None,
            cores: 1,
            memory_mib: 512,
            agent: true,
            boot: Duration::ZERO,
            agent_start: Duration::ZERO,
        }
    }

    #[test]
    fn values_that_would_leave_their_place_are_refused() {
        check(&seed()).unwrap();
        let bad: [fn(&mut Seed); 8] = [
            |seed| seed.hostname = "a\nb".to_owned(),
            |seed| seed.hostname = "-a".to_owned(),
            |seed| seed.hostname = String::new(),
            |seed| seed.user = Some("-rf".to_owned()),
            |seed| seed.user = Some("Alice".to_owned()),
            |seed| seed.mac = "BC:24:11:00:00\n[x]".to_owned(),
            |seed| seed.password_hash = Some("x:y\nroot:z".to_owned()),
            |seed| seed.ssh_keys.push("a\nb".to_owned()),
        ];
        for (index, spoil) in bad.iter().enumerate() {
            let mut seed = seed();
            spoil(&mut seed);
            assert!(check(&seed).is_err(), "case {index}");
        }
    }

    #[test]
    fn a_refused_hash_is_not_shown() {
        let spoilt = Seed { password_hash: Some("secret\n".to_owned()), ..seed() };
        assert!(!check(&spoilt).unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn a_fixed_address_needs_no_dhcp() {
        let address = Some("10.77.0.40".parse().unwrap());
        let text = network(&Seed { address, ..seed() });
        assert!(text.contains("Address=10.77.0.40/24"), "{text}");
        assert!(!text.contains("DHCP"), "{text}");
    }
}
