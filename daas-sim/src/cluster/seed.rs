//! What a machine's configuration tells its guest at power-on, mostly cloud-init's part.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;

use super::Cluster;
use super::vm::Vm;
use crate::durations::Operation;
use crate::guest::Seed;

impl Cluster {
    /// The seed of a machine's next boot.
    pub(crate) fn seed(&self, vm: &Vm) -> Seed {
        let option = |name: &str| vm.options.get(name).map(String::as_str);
        let draw = |operation| self.clock.scaled(self.durations.draw(operation, vm.vmid));
        let hostname = option("name").map_or_else(|| format!("VM{}", vm.vmid), str::to_owned);
        Seed {
            hostname,
            user: option("ciuser").map(str::to_owned),
            password_hash: option("cipassword").map(str::to_owned),
            ssh_keys: option("sshkeys").map(ssh_keys).unwrap_or_default(),
            mac: option("net0").and_then(mac).unwrap_or_default(),
            address: option("ipconfig0").and_then(address),
            cores: u32::try_from(vm.cpus()).unwrap_or(u32::MAX),
            memory_mib: vm.memory_mib(),
            agent: vm.agent(),
            boot: draw(Operation::Boot),
            agent_start: draw(Operation::AgentStart),
        }
    }
}

/// The keys of a percent-encoded `sshkeys`, a line each.
pub(crate) fn ssh_keys(encoded: &str) -> Vec<String> {
    let text = percent_decode_str(encoded).decode_utf8_lossy();
    text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect()
}

/// The address of `virtio=BC:24:11:00:00:01,bridge=vmbr0`.
pub(crate) fn mac(net: &str) -> Option<String> {
    net.split(',')
        .filter_map(|part| part.split_once('='))
        .map(|(_, value)| value)
        .find(|value| is_mac(value))
        .map(str::to_uppercase)
}

/// Whether this is a MAC address with colons.
pub(crate) fn is_mac(text: &str) -> bool {
    let mut parts = 0;
    let good = text.split(':').all(|part| {
        parts += 1;
        part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit())
    });
    good && parts == 6
}

fn address(ipconfig: &str) -> Option<IpAddr> {
    let value = |key: &str| {
        let of = |part: &str| part.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
        ipconfig.split(',').find_map(of)
    };
    let parse = |cidr: String| cidr.split('/').next()?.parse().ok();
    value("ip").and_then(parse).or_else(|| value("ip6").and_then(parse))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_ipconfig() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(address(text), expect.and_then(|e| e.parse().ok()), "{text}");
        };
        check("ip=dhcp", None);
        check("ip=10.0.0.5/24,gw=10.0.0.1", Some("10.0.0.5"));
        check("ip6=fd00::5/64,gw6=fd00::1", Some("fd00::5"));
        check("ip6=auto", None);
    }

    #[test]
    fn macs_are_found_in_any_model() {
        assert_eq!(
            mac("virtio=bc:24:11:00:00:01,bridge=vmbr0").as_deref(),
            Some("BC:24:11:00:00:01")
        );
        assert_eq!(
            mac("model=e1000,macaddr=BC:24:11:00:00:02").as_deref(),
            Some("BC:24:11:00:00:02")
        );
        assert_eq!(mac("virtio,bridge=vmbr0"), None);
    }
}
