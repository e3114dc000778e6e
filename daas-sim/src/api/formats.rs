//! Named formats of parameters. Each tells what is wrong in Proxmox's words.

use std::net::IpAddr;

pub(crate) fn node(value: &str) -> Result<(), String> {
    let good = is_label(value);
    good.then_some(())
        .ok_or_else(|| format!("value '{value}' does not look like a valid node name"))
}

pub(crate) fn storage(value: &str) -> Result<(), String> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let bytes = value.as_bytes();
    let good = bytes.len() > 1
        && bytes[0].is_ascii_alphabetic()
        && bytes[bytes.len() - 1].is_ascii_alphanumeric()
        && bytes.iter().all(|b| inner(*b));
    let why = || format!("storage ID '{value}' contains illegal characters");
    good.then_some(()).ok_or_else(why)
}

pub(crate) fn pool(value: &str) -> Result<(), String> {
    let good = !value.is_empty()
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
    good.then_some(())
        .ok_or_else(|| format!("value '{value}' does not look like a valid pool name"))
}

/// A host name with or without a domain: letters, digits, hyphens and dots, no underscore.
pub(crate) fn dns_name(value: &str) -> Result<(), String> {
    let good = !value.is_empty() && value.split('.').all(is_label);
    let why = || format!("value '{value}' does not look like a valid DNS name");
    good.then_some(()).ok_or_else(why)
}

/// What stays percent-encoded after the form has been decoded.
pub(crate) fn urlencoded(value: &str) -> Result<(), String> {
    let good = value.bytes().all(|b| {
        b.is_ascii_alphanumeric()
            || matches!(b, b'-' | b'%' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')')
    });
    good.then_some(()).ok_or_else(|| format!("invalid urlencoded string: {value}"))
}

pub(crate) fn config_id_list(value: &str) -> Result<(), String> {
    for id in split_list(value) {
        let bytes = id.as_bytes();
        let good = bytes.len() > 1
            && bytes[0].is_ascii_alphabetic()
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !good {
            return Err(format!("invalid configuration ID '{id}'"));
        }
    }
    Ok(())
}

pub(crate) fn tag_list(value: &str) -> Result<(), String> {
    for tag in split_list(value) {
        let bytes = tag.as_bytes();
        let first = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let rest = |b: u8| first(b) || matches!(b, b'-' | b'+' | b'.');
        if !first(bytes[0]) || !bytes.iter().all(|b| rest(*b)) {
            return Err(format!("invalid characters in tag: '{tag}'"));
        }
    }
    Ok(())
}

pub(crate) fn ipconfig(value: &str) -> Result<(), String> {
    for part in value.split(',').filter(|p| !p.is_empty()) {
        let Some((key, given)) = part.split_once('=') else {
            return Err(format!(
                "invalid format - missing key in comma-separated list property: {part}"
            ));
        };
        let good = match key {
            "ip" => given == "dhcp" || cidr(given, |ip| ip.is_ipv4()),
            "ip6" => matches!(given, "dhcp" | "auto") || cidr(given, |ip| ip.is_ipv6()),
            "gw" => given.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()),
            "gw6" => given.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()),
            _ => return Err(format!("format error\n{key}: property is not defined in schema")),
        };
        if !good {
            return Err(format!("format error\n{key}: value does not look like a valid address"));
        }
    }
    Ok(())
}

/// A network device: `virtio[=MAC],bridge=..`.
pub(crate) fn network(value: &str) -> Result<(), String> {
    let models = ["virtio", "e1000", "e1000e", "rtl8139", "vmxnet3", "pcnet", "ne2k_pci", "i82551"];
    let first = value.split(',').next().unwrap_or_default();
    let model = first.strip_prefix("model=").unwrap_or(first);
    let (model, mac) = match model.split_once('=') {
        Some((model, mac)) => (model, Some(mac)),
        None => (model, None),
    };
    let good = models.contains(&model) && mac.is_none_or(crate::cluster::seed::is_mac);
    good.then_some(()).ok_or_else(|| "format error\nmodel: invalid value".to_owned())
}

/// The parts of a `*-list`: separated by commas, semicolons, blanks or NULs.
pub(crate) fn split_list(value: &str) -> impl Iterator<Item = &str> {
    value.split([',', ';', ' ', '\t', '\n', '\0']).filter(|part| !part.is_empty())
}

fn cidr(value: &str, family: impl Fn(&IpAddr) -> bool) -> bool {
    let Some((ip, bits)) = value.split_once('/') else { return false };
    let (Ok(ip), Ok(bits)) = (ip.parse::<IpAddr>(), bits.parse::<u8>()) else { return false };
    family(&ip) && bits <= if ip.is_ipv4() { 32 } else { 128 }
}

fn is_label(value: &str) -> bool {
    let bytes = value.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_tell_good_from_bad() {
        let check = |format: fn(&str) -> Result<(), String>, value: &str, good: bool| {
            assert_eq!(format(value).is_ok(), good, "{value:?}");
        };
        check(dns_name, "desktop-7f3k2mq", true);
        check(dns_name, "a.b.example", true);
        check(dns_name, "with_underscore", false);
        check(dns_name, "-x", false);
        check(dns_name, "", false);
        check(urlencoded, "ssh-ed25519%20AAAA%2B%2F%3D%20a%40b", true);
        check(urlencoded, "ssh-ed25519 AAAA", false);
        check(urlencoded, "a+b", false);
        check(urlencoded, "a/b=", false);
        check(tag_list, "daas;x-1", true);
        check(tag_list, "a;b*", false);
        check(ipconfig, "ip=dhcp", true);
        check(ipconfig, "ip=10.0.0.5/24,gw=10.0.0.1", true);
        check(ipconfig, "ip=10.0.0.5", false);
        check(ipconfig, "ip=fd00::1/64", false);
        check(network, "virtio=BC:24:11:00:00:01,bridge=vmbr0", true);
        check(network, "virtio,bridge=vmbr0", true);
        check(network, "virtio=zz,bridge=vmbr0", false);
        check(storage, "local-zfs", true);
        check(storage, "x", false);
    }
}
