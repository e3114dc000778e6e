# Makes the domain, once, in a guest of the `dc` template; what it leaves on the disk is the layer.
# Told by the environment: REALM NETBIOS HOST ADDRESS SUFFIX OU ADMIN_PASSWORD JOIN_USER
# JOIN_PASSWORD USERS ("name:password ...") GROUP MEMBERS.
set -eu
export LC_ALL=C
domain=$(printf %s "$REALM" | tr 'A-Z' 'a-z')
fqdn=$HOST.$domain

# The file server of the package is not a domain controller's, and what it has written is in the way.
systemctl mask --now smbd.service nmbd.service winbind.service 2>&1
rm -rf /etc/samba/smb.conf /var/lib/samba/*.tdb /var/lib/samba/private /var/cache/samba/*
install -d -m 700 /var/lib/samba/private

printf '127.0.0.1 localhost\n%s %s %s\n' "$ADDRESS" "$fqdn" "$HOST" > /etc/hosts
samba-tool domain provision --realm="$REALM" --domain="$NETBIOS" --host-name="$HOST" \
    --server-role=dc --dns-backend=SAMBA_INTERNAL --use-rfc2307 --host-ip="$ADDRESS" \
    --adminpass="$ADMIN_PASSWORD" --option='interfaces=lo eth0' \
    --option='bind interfaces only=yes' > /var/log/provision.log 2>&1 || {
    tail -n 20 /var/log/provision.log >&2
    exit 1
}
cp /var/lib/samba/private/krb5.conf /etc/krb5.conf
printf 'nameserver %s\n' "$ADDRESS" > /etc/resolv.conf

# A certificate as a real domain has one. The one Samba makes for itself names its host in the
# common name only, which today's clients do not read.
tls=/var/lib/samba/private/lab-tls
install -d -m 700 "$tls"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 7300 \
    -subj "/CN=$NETBIOS Lab CA" -keyout "$tls/ca.key" -out "$tls/ca.pem" \
    -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign' 2>&1
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj "/CN=$fqdn" \
    -keyout "$tls/dc.key" -out "$tls/dc.csr" 2>&1
printf 'subjectAltName=DNS:%s,IP:%s\nextendedKeyUsage=serverAuth\n' "$fqdn" "$ADDRESS" > "$tls/ext"
openssl x509 -req -in "$tls/dc.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -CAcreateserial \
    -days 7300 -extfile "$tls/ext" -out "$tls/dc.pem" 2>&1
chmod 600 "$tls"/*.key
sed -i "/^\[global\]/a\\
\\ttls cafile = $tls/ca.pem\\
\\ttls certfile = $tls/dc.pem\\
\\ttls keyfile = $tls/dc.key" /etc/samba/smb.conf
printf '\n[users]\n\tpath = /srv/users\n\tread only = no\n' >> /etc/samba/smb.conf

samba-tool ou create "$OU"
samba-tool ou create "OU=Elsewhere,$SUFFIX"
samba-tool group add "$GROUP"
for user in $USERS; do
    samba-tool user create "${user%%:*}" "${user#*:}" --given-name="${user%%:*}" \
        --mail-address="${user%%:*}@$domain"
done
for user in $MEMBERS; do samba-tool group addmembers "$GROUP" "$user"; done
samba-tool user create "$JOIN_USER" "$JOIN_PASSWORD"

# What the account that stages computers may do, and nothing else: make and remove computers in
# one OU, and on those computers what staging writes.
sid=$(samba-tool user show "$JOIN_USER" --attributes=objectSid | sed -n 's/^objectSid: //p')
computer=bf967a86-0de6-11d0-a285-00aa003049e2
allow() { samba-tool dsacl set --objectdn="$OU" --action=allow --sddl="$1" > /dev/null; }
allow "(OA;CI;CCDC;$computer;;$sid)"
allow "(OA;CIIO;SDDT;;$computer;$sid)"
for right in CR:00299570-246d-11d0-a768-00aa006e0529 WP:4c164200-20c0-11d0-a768-00aa006e0529 \
    WP:bf967950-0de6-11d0-a285-00aa003049e2 SW:72e39547-7b18-11d1-adef-00c04fd8d5cd \
    SW:f3a64788-5306-11d1-a9c5-0000f80367c1; do
    allow "(OA;CIIO;${right%%:*};${right#*:};$computer;$sid)"
done

# The seed of each start writes /etc/hosts anew; a domain controller must find itself there.
install -d /etc/systemd/system/samba-ad-dc.service.d
cat > /etc/systemd/system/samba-ad-dc.service.d/lab.conf <<UNIT
[Unit]
Wants=network-online.target
After=network-online.target
[Service]
ExecStartPre=/bin/sh -c 'printf "127.0.0.1 localhost\n$ADDRESS $fqdn $HOST\n" > /etc/hosts'
UNIT
systemctl unmask samba-ad-dc.service 2>&1
systemctl daemon-reload
systemctl enable samba-ad-dc.service 2>&1
systemctl start samba-ad-dc.service

# Homes belong to their users as the domain knows them, so the domain must run.
n=0
until getent passwd "$NETBIOS\\${USERS%%:*}" > /dev/null; do
    n=$((n + 1))
    [ $n -lt 150 ] || { echo 'winbind knows no user' >&2; exit 1; }
    sleep 0.1
done
install -d -m 755 /srv/users
for user in $USERS; do
    install -d -m 700 -o "$NETBIOS\\${user%%:*}" -g "$NETBIOS\\domain users" "/srv/users/${user%%:*}"
done
systemctl stop samba-ad-dc.service
# Each start has host keys of its own.
rm -f /etc/ssh/ssh_host_*
