//! The shell of drawn guests: what scripts print, how they end, and what they leave on the disk.

#![allow(clippy::unwrap_used)]

mod drawn_support;

use daas_sim::guest::GuestMaker;
use daas_sim::guest::drawn::{DrawnGuest, LogKind, Who};
use drawn_support::{booted, own_network};

/// Runs a script as root and compares its output and status.
async fn check(guest: &DrawnGuest, script: &str, stdin: &str, stdout: &str, status: i32) {
    let ran = guest.run("root", script, stdin).await.expect("root has a shell");
    assert_eq!((ran.stdout.as_str(), ran.status), (stdout, status), "{script}\n{}", ran.stderr);
}

#[tokio::test]
async fn the_language() {
    let (maker, guest) = booted(own_network(), &[]).await;
    let table = [
        ("echo a  b 'c  d' \"e  f\" g\\ h", "", "a b c  d e  f g h\n", 0),
        ("echo one; echo two\necho three", "", "one\ntwo\nthree\n", 0),
        ("true && echo yes || echo no", "", "yes\n", 0),
        ("false && echo yes || echo no", "", "no\n", 0),
        ("! false && echo inverted", "", "inverted\n", 0),
        ("if false; then echo a; elif true; then echo b; else echo c; fi", "", "b\n", 0),
        ("X=1; Y=\"$X${X}2\"; echo $Y ${Z:-none} ${Y:+set} ${#Y}", "", "112 none set 3\n", 0),
        (
            "P=/a/b/c.txt; echo ${P##*/} ${P%/*} ${P#/a} ${P%.txt}",
            "",
            "c.txt /a/b /b/c.txt /a/b/c\n",
            0,
        ),
        ("X='a b'; for i in $X \"$X\"; do echo \"<$i>\"; done", "", "<a>\n<b>\n<a b>\n", 0),
        ("echo $(echo inner $(echo deep)) `echo old`", "", "inner deep old\n", 0),
        ("echo $((2 + 3 * (4 - 1))) $((7 / 2)) $((7 % 2))", "", "11 3 1\n", 0),
        (
            "i=0; while [ $i -lt 3 ]; do i=$((i + 1)); [ $i = 2 ] && continue; echo $i; done",
            "",
            "1\n3\n",
            0,
        ),
        ("for x in a b c; do [ $x = b ] && break; echo $x; done", "", "a\n", 0),
        (
            "case foo.tar in *.zip) echo zip;; f*.tar|x) echo tar;; *) echo other;; esac",
            "",
            "tar\n",
            0,
        ),
        ("f() { echo \"$1-$2-$#\"; return 3; }; f a 'b c'; echo $?", "", "a-b c-2\n3\n", 0),
        ("(X=2; exit 4); echo $? ${X:-unset}", "", "4 unset\n", 0),
        ("{ echo a; echo b; } | wc -l", "", "2\n", 0),
        ("cat <<EOF\na $((1+1)) $HOME\nEOF\ncat <<'EOF'\n$HOME\nEOF", "", "a 2 /root\n$HOME\n", 0),
        ("cat <<-EOF | tr a-z A-Z\n\tindented\n\tEOF", "", "INDENTED\n", 0),
        ("sh -c 'echo $0 $1' name arg; sh -c 'exit 7'; echo $?", "", "name arg\n7\n", 0),
        ("set -e; false; echo unreached", "", "", 1),
        ("set -e; false || true; if false; then :; fi; ! true; echo reached", "", "reached\n", 0),
        ("set -eu; echo $NOT_THERE; echo unreached", "", "", 2),
        ("set -- x 'y z'; for a in \"$@\"; do echo $a; done; shift; echo $#", "", "x\ny z\n1\n", 0),
        ("trap 'echo bye' EXIT; echo hi; exit 5", "", "hi\nbye\n", 5),
        ("read a b; echo $b $a; cat", "one two three\nrest\n", "two three one\nrest\n", 0),
        ("while read line; do echo \"[$line]\"; done", "x\ny\n", "[x]\n[y]\n", 0),
        ("sh -s a1", "echo from stdin $1\n", "from stdin a1\n", 0),
        ("exit 300", "", "", 44),
        ("# only a comment", "", "", 0),
        ("echo a#b # comment", "", "a#b\n", 0),
        ("eval 'echo evaluated'", "", "evaluated\n", 0),
        ("x='*'; echo \"$x\"; cd /etc/ssh; echo *.pub", "", "*\nssh_host_ed25519_key.pub\n", 0),
        ("FOO=bar env | grep ^FOO; echo ${FOO:-gone}", "", "FOO=bar\ngone\n", 0),
        ("export A=1; sh -c 'echo $A'; B=2; sh -c 'echo ${B:-no}'", "", "1\nno\n", 0),
        ("timeout 0.05 sleep 60; echo $?", "", "124\n", 0),
    ];
    for (script, stdin, stdout, status) in table {
        check(&guest, script, stdin, stdout, status).await;
    }
    maker.close().await;
}

#[tokio::test]
async fn what_it_does_not_know_it_says() {
    let (maker, guest) = booted(own_network(), &[]).await;
    let table = [
        ("no-such-program x", 127, "sh: 1: no-such-program: not found"),
        ("/usr/bin/nothing", 127, "not found"),
        ("echo 'open", 2, "Unterminated quoted string"),
        ("if true; then echo", 2, "Syntax error"),
        ("sleep 1 &", 2, "background"),
        ("echo a )", 2, "Syntax error"),
        ("cat < /no/such", 2, "cannot open /no/such"),
        ("echo x > /no/such/dir", 2, "cannot create"),
        ("ls --fancy", 2, "not known to a drawn guest"),
        ("ss -tn state listening", 2, "not known to a drawn guest"),
        ("apt-get install -y no-such-package", 100, "E: Unable to locate package no-such-package"),
        ("cat <<EOF\nnever ended", 2, "here-document"),
        ("while true; do :; done", 2, "too many commands"),
        ("f() { f; }; f", 2, "nest too deep"),
    ];
    for (script, status, stderr) in table {
        let ran = guest.run("root", script, "").await.expect("root has a shell");
        assert_eq!(ran.status, status, "{script}: {ran:?}");
        assert!(ran.stderr.contains(stderr), "{script}: {ran:?}");
    }
    let nested = format!("{}true{}", "(".repeat(5000), ")".repeat(5000));
    let ran = guest.run("root", &nested, "").await.expect("root has a shell");
    assert_eq!(ran.status, 2, "deep nesting is refused: {}", ran.stderr);
    maker.close().await;
}

#[tokio::test]
async fn files() {
    let (maker, guest) = booted(own_network(), &[]).await;
    let table = [
        ("mkdir -p /srv/a/b && echo hi > /srv/a/b/f && cat /srv/a/b/f", "", "hi\n", 0),
        ("echo more >> /srv/a/b/f; wc -l < /srv/a/b/f", "", "2\n", 0),
        (
            "cat > /srv/in; sha256sum /srv/in | cut -d' ' -f1",
            "abc",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n",
            0,
        ),
        (
            "chmod 640 /srv/in; chown nobody:sudo /srv/in; stat -c '%a %U %G %s' /srv/in",
            "",
            "640 nobody sudo 3\n",
            0,
        ),
        ("chmod u+x,o=r /srv/in; stat -c %a /srv/in", "", "744\n", 0),
        (
            "install -D -m 600 -o alice -g alice /dev/stdin /home/alice/.k/x; stat -c '%a %U' /home/alice/.k/x; cat /home/alice/.k/x",
            "key\n",
            "600 alice\nkey\n",
            0,
        ),
        ("cp -r /srv/a /srv/c; mv /srv/c/b/f /srv/c/g; ls /srv/c", "", "b\ng\n", 0),
        (
            "ln -s /srv/in /srv/link; cat /srv/link; readlink /srv/link; [ -L /srv/link ]",
            "",
            "abc/srv/in\n",
            0,
        ),
        ("rm /srv/a", "", "", 1),
        ("rm -rf /srv/a /srv/none; [ -e /srv/a ]", "", "", 1),
        ("f=$(mktemp) && echo x > $f && [ -s $f ] && rm $f && [ ! -e $f ]", "", "", 0),
        ("printf '%s=%d\\n' a 1 b 2", "", "a=1\nb=2\n", 0),
        ("printf 'b\\na\\nb\\n' | sort -u | head -n 1", "", "a\n", 0),
        ("echo out; echo err >&2", "", "out\n", 0),
        ("sh -c 'echo err >&2' 2>&1 | tr a-z A-Z", "", "ERR\n", 0),
        ("echo gone 2>/dev/null >/dev/null", "", "", 0),
        ("printf 'key=1\\nother=2\\n' | grep -q '^key=' && echo found", "", "found\n", 0),
        ("printf 'aXb\\nab\\n' | grep -E 'aX?b$' | wc -l", "", "2\n", 0),
        ("printf 'a.c\\nabc\\n' | grep -xF a.c", "", "a.c\n", 0),
        ("grep -q nothing /etc/os-release", "", "", 1),
        ("echo text | tee /srv/t1 /srv/t2 >/dev/null; cat /srv/t1 /srv/t2", "", "text\ntext\n", 0),
    ];
    for (script, stdin, stdout, status) in table {
        check(&guest, script, stdin, stdout, status).await;
    }
    maker.close().await;
}

#[tokio::test]
async fn accounts_packages_and_units() {
    let (maker, guest) = booted(own_network(), &[]).await;
    let unit = "[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
    let table = [
        (
            "getent passwd bob || useradd -m -s /bin/bash -G sudo,audio bob; id -nG bob",
            "",
            "bob audio sudo\n",
            0,
        ),
        ("useradd bob", "", "", 9),
        ("umask 077; echo x > /srv/private; stat -c %a /srv/private; umask", "", "600\n0077\n", 0),
        (
            "mkdir -p /etc/skel/.config; echo start > /etc/skel/.xsession; useradd -m eve; stat -c '%U %a' /home/eve/.xsession /home/eve/.config",
            "",
            "eve 644\neve 755\n",
            0,
        ),
        ("cloud-init status --wait", "", "status: done\n", 0),
        ("command -v thunar; thunar", "", "/usr/bin/thunar\n", 126),
        (
            "stat -c '%U %a' /home/bob; getent passwd bob | cut -d: -f7",
            "",
            "bob 700\n/bin/bash\n",
            0,
        ),
        ("chpasswd -e", "bob:$6$x$y\n", "", 0),
        ("getent shadow bob | cut -d: -f2", "", "$6$x$y\n", 0),
        ("passwd -l bob; getent shadow bob | cut -c1-10", "", "bob:!$6$x$\n", 0),
        ("chpasswd", "nobody-there:x\n", "", 1),
        (
            "groupadd -f staff && usermod -aG staff bob && id -nG bob | grep -qw staff; echo $?",
            "",
            "0\n",
            0,
        ),
        ("getent group staff | cut -d: -f4", "", "bob\n", 0),
        ("userdel -r bob; [ -d /home/bob ] || getent passwd bob", "", "", 2),
        ("dpkg-query -W -f='${Status}\\n' xrdp", "", "install ok installed\n", 0),
        (
            "dpkg -s sssd >/dev/null 2>&1 || apt-get install -y -qq sssd adcli >/dev/null; dpkg -s adcli | grep -c 'ok installed'",
            "",
            "1\n",
            0,
        ),
        ("systemctl is-active sssd xrdp.service", "", "active\nactive\n", 0),
        ("systemctl stop xrdp && systemctl is-active xrdp", "", "inactive\n", 3),
        ("systemctl start none", "", "", 5),
        (
            "systemctl disable xrdp; systemctl is-enabled xrdp; systemctl enable xrdp ssh; systemctl is-enabled xrdp",
            "",
            "disabled\nenabled\n",
            0,
        ),
        (
            "printf '[Service]\\nExecStart=/x\\n' > /etc/systemd/system/y.service; systemctl enable y; systemctl is-enabled y",
            "",
            "disabled\n",
            1,
        ),
        (
            "cat > /etc/systemd/system/mine.service && systemctl daemon-reload && systemctl enable --now mine && systemctl is-enabled mine",
            unit,
            "enabled\n",
            0,
        ),
        ("systemctl mask mine; systemctl restart mine", "", "", 1),
        ("hostnamectl set-hostname other-name && hostname", "", "other-name\n", 0),
        (
            "localectl set-x11-keymap fr pc105 oss; cat /etc/default/keyboard",
            "",
            "XKBLAYOUT=\"fr\"\nXKBVARIANT=\"oss\"\n",
            0,
        ),
        ("update-locale LANG=fr_FR.UTF-8; cat /etc/default/locale", "", "LANG=fr_FR.UTF-8\n", 0),
        (
            "systemctl restart xrdp && systemctl restart xrdp; systemctl is-active xrdp",
            "",
            "active\n",
            0,
        ),
        ("command -v systemctl; which nothing", "", "/usr/bin/systemctl\n", 1),
        ("sudo -u alice whoami; sudo -u alice sudo id -u", "", "alice\n0\n", 0),
        ("ss -Htn state established '( sport = :3389 )' | wc -l", "", "0\n", 0),
    ];
    for (script, stdin, stdout, status) in table {
        check(&guest, script, stdin, stdout, status).await;
    }
    let denied = guest.run("alice", "echo x > /etc/motd", "").await.expect("alice has a shell");
    assert_eq!(denied.status, 2, "{denied:?}");
    assert!(denied.stderr.contains("Permission denied"), "{denied:?}");
    guest.with_disk(|disk| {
        assert!(disk.read(&Who::root(), "/etc/motd").is_err());
        let commands = disk.log().filter(|entry| entry.kind == LogKind::Command);
        assert!(commands.into_iter().any(|entry| entry.text == "useradd bob"));
    });
    maker.close().await;
}
