#!/bin/sh
# Stands in for mount.cifs(8) and the kernel's cifs, which a container cannot have: smbnetfs (FUSE)
# shows the network, and the directory asked for is bound to its place. Called by mount(8) as
# `mount.cifs //server/share/path place -o options`, the password in PASSWD, PASSWD_FD or
# PASSWD_FILE, as mount.cifs(8) says.
set -euf

source=${1#//} place=$2
shift 2
options=
while [ $# -gt 0 ]; do
    case $1 in
    -o) options=$2 && shift ;;
    esac
    shift
done
user='' domain='' uid=0 gid=0
IFS=,
for option in $options; do
    value=${option#*=}
    case $option in
    user=* | username=*) user=$value ;;
    dom=* | domain=* | workgroup=*) domain=$value ;;
    uid=*) uid=$value ;;
    gid=*) gid=$value ;;
    esac
done
unset IFS

if [ -n "${PASSWD+set}" ]; then
    password=$PASSWD
elif [ -n "${PASSWD_FD+set}" ]; then
    # Without a line break at its end read says no, and has read it.
    IFS= read -r password <&"$PASSWD_FD" || [ -n "$password" ]
else
    IFS= read -r password <"$PASSWD_FILE" || [ -n "$password" ]
fi

quoted() { printf %s "$1" | sed 's/[\\"]/\\&/g'; }
own=$(mktemp -d /run/mount-cifs.XXXXXX)
mkdir "$own/.smb" "$own/net"
umask 077
printf 'auth "%s" "%s" "%s"\n' "${source%%/*}" "${domain:+$domain/}$(quoted "$user")" \
    "$(quoted "$password")" >"$own/.smb/smbnetfs.conf"
printf '[global]\n    client min protocol = SMB2\n' >"$own/.smb/smb.conf"
unset PASSWD PASSWD_FD PASSWD_FILE

HOME=$own smbnetfs "$own/net" \
    -o "allow_other,default_permissions,nosuid,nodev,umask=077,uid=$uid,gid=$gid"
status=0
mount --bind "$own/net/$source" "$place" || status=32
# The bound directory keeps it alive; with it, smbnetfs ends.
umount --lazy "$own/net"
exit $status
