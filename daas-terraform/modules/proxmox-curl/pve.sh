# Speaks to Proxmox VE's API: makes or removes the machine $ID. Needs curl.
set -eu

# pve METHOD PATH [FIELD=VALUE...]: the answer, or a failure with what was said.
pve() {
    method=$1
    url="$URL/api2/json$2"
    shift 2
    for field in "$@"; do
        set -- "$@" --data-urlencode "$field"
        shift
    done
    [ -z "$CA" ] || set -- "$@" --cacert "$CA"
    [ "$INSECURE" != true ] || set -- "$@" --insecure
    # The token goes by standard input: a command line shows to everybody.
    printf 'Authorization: PVEAPIToken=%s' "${TF_VAR_proxmox_token:?is not set}" |
        curl -sS --fail-with-body --max-time 60 -H @- -X "$method" "$@" "$url"
}

# order METHOD PATH [FIELD=VALUE...]: orders a task and waits for its good end; else says why.
order() {
    said=$(pve "$@") || { echo "$1 $2: $said" >&2; return 1; }
    upid=$(printf '%s' "$said" | sed 's/.*"data":"\([^"]*\)".*/\1/')
    task="/nodes/$(printf '%s' "$upid" | cut -d: -f2)/tasks/$upid/status"
    while said=$(pve GET "$task") || { echo "$task: $said" >&2; return 1; }; do
        case $said in
        *'"exitstatus":"OK"'* | *'"exitstatus":"WARNINGS'*) return 0 ;;
        *'"exitstatus":'*) echo "$1 $2: $said" >&2; return 1 ;;
        esac
        sleep 0.1
    done
}

# The template's node, as the cluster tells it: its objects are flat, so each gets a line.
source_node() {
    pve GET "/cluster/resources?type=vm" | tr '}' '\n' | grep -E "\"vmid\":$SOURCE(,|\$)" |
        sed -n 's/.*"node":"\([^"]*\)".*/\1/p' | head -n 1
}

clone() {
    order POST "/nodes/$SOURCE_NODE/qemu/$SOURCE/clone" "$@"
}

make() {
    [ -n "$SOURCE_NODE" ] || SOURCE_NODE=$(source_node)
    [ -n "$SOURCE_NODE" ] || { echo "no node has the template $SOURCE" >&2; return 1; }
    set -- "newid=$ID" "name=$NAME" "description=$DESCRIPTION"
    [ "$NODE" = "$SOURCE_NODE" ] || set -- "$@" "target=$NODE"
    [ -z "$POOL" ] || set -- "$@" "pool=$POOL"
    full() { clone "$@" full=1 ${STORAGE:+"storage=$STORAGE"}; }
    case $CLONE in
    full) full "$@" ;;
    linked) clone "$@" full=0 ;;
    *)
        refusal=$(clone "$@" full=0 2>&1) || case $refusal in
        *"Linked clone feature is not supported"*) full "$@" ;;
        *) echo "$refusal" >&2; return 1 ;;
        esac
        ;;
    esac
    # cloned

    set -- "tags=$TAGS" "cores=$CORES" "memory=$MEMORY" "net0=virtio,bridge=$NETWORK"
    set -- "$@" "ciuser=$ADMIN" "ipconfig0=ip=dhcp"
    [ -z "$SSH_KEYS" ] || set -- "$@" "sshkeys=$SSH_KEYS"
    [ "$AGENT" != true ] || set -- "$@" "agent=enabled=1"
    said=$(pve PUT "$machine/config" "$@") || { echo "PUT $machine/config: $said" >&2; return 1; }
    [ -z "$DISK" ] || order PUT "$machine/resize" disk=scsi0 "size=${DISK}G"
    [ "$RUNNING" = true ] || return 0
    order POST "$machine/status/start"
    [ "$AGENT" != true ] || address > "$ADDRESS_FILE"
}

# The guest's first IPv4 address that is no loopback; nothing if it tells none in time.
address() {
    end=$(($(date +%s) + ADDRESS_SECONDS))
    while [ "$(date +%s)" -lt "$end" ]; do
        if said=$(pve GET "$machine/agent/network-get-interfaces" 2>/dev/null); then
            found=$(printf '%s' "$said" | grep -o '"ip-address":"[0-9.]*"' | cut -d'"' -f4 |
                grep -v '^127\.' | head -n 1)
            [ -z "$found" ] || { printf '%s\n' "$found"; return 0; }
        fi
        sleep 0.2
    done
}

remove() {
    said=$(pve GET "$machine/status/current") || case $said in
    *"does not exist"*) return 0 ;;
    *) echo "GET $machine: $said" >&2; return 1 ;;
    esac
    case $said in *'"status":"running"'*) order POST "$machine/status/stop" ;; esac
    order DELETE "$machine?purge=1"
    # removed
}

machine="/nodes/$NODE/qemu/$ID"
case $1 in
make) make ;;
remove) remove ;;
esac
