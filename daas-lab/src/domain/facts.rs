//! What the lab's domain is called and who is in it. It is reachable from its own lab only, so its
//! passwords are no secrets.

use std::net::Ipv4Addr;

/// The domain controller's address, outside what DHCP gives away.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);
/// The domain's DNS name.
pub const DOMAIN: &str = "lab.test";
/// The Kerberos realm.
pub const REALM: &str = "LAB.TEST";
/// The short name, as in `LAB\alice`.
pub const NETBIOS: &str = "LAB";
/// The domain controller's full name.
pub const HOST: &str = "dc1.lab.test";
/// The domain's root.
pub const SUFFIX: &str = "DC=lab,DC=test";
/// Where computers of desktops belong; [`JOIN_USER`] may make and remove them there.
pub const OU: &str = "OU=Desktops,DC=lab,DC=test";
/// An OU where it may not.
pub const OTHER_OU: &str = "OU=Elsewhere,DC=lab,DC=test";
/// The domain's administrator, with [`ADMIN_PASSWORD`].
pub const ADMIN: &str = "Administrator";
/// Its password.
pub const ADMIN_PASSWORD: &str = "Passw0rd.Admin1";
/// The account that stages computers: no right but those on [`OU`].
pub const JOIN_USER: &str = "svc-join";
/// Its password.
pub const JOIN_PASSWORD: &str = "Passw0rd.Join1";
/// The group of those who may have a desktop: alice, not bob.
pub const GROUP: &str = "vdi-users";
/// The share with the users' homes, one directory each; on the server it is [`SHARE_DIRECTORY`].
pub const SHARE: &str = "users";
/// Where the share lies on the server.
pub const SHARE_DIRECTORY: &str = "/srv/users";
/// `(user, password)`; each has a home `\\dc1\users\<user>`.
pub const USERS: [(&str, &str); 2] = [("alice", "Passw0rd.Alice1"), ("bob", "Passw0rd.Bob1")];

/// A user's home as pam_mount and `mount.cifs` name it on [`HOST`]: `users/%(USER)`.
pub fn home_share() -> String {
    format!("{SHARE}/%(USER)")
}

/// What the provisioning script is told.
pub(super) fn environment() -> Vec<(&'static str, String)> {
    let users: Vec<String> = USERS.iter().map(|(name, word)| format!("{name}:{word}")).collect();
    let host = HOST.split('.').next().unwrap_or(HOST);
    vec![
        ("REALM", REALM.to_owned()),
        ("NETBIOS", NETBIOS.to_owned()),
        ("HOST", host.to_owned()),
        ("ADDRESS", ADDRESS.to_string()),
        ("SUFFIX", SUFFIX.to_owned()),
        ("OU", OU.to_owned()),
        ("ADMIN_PASSWORD", ADMIN_PASSWORD.to_owned()),
        ("JOIN_USER", JOIN_USER.to_owned()),
        ("JOIN_PASSWORD", JOIN_PASSWORD.to_owned()),
        ("USERS", users.join(" ")),
        ("GROUP", GROUP.to_owned()),
        ("MEMBERS", "alice".to_owned()),
    ]
}
