# Speaks to Proxmox VE's API: make or remove the machine $ID.
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
    # The token goes by standard input: a command line shows to everybody.
    printf 'Authorization: PVEAPIToken=%s' "$TF_VAR_pve_token" |
        curl -sS --fail-with-body --max-time 20 --cacert "$CA" -H @- -X "$method" "$@" "$url"
}

# task ANSWER: waits for the task that an order answered with.
task() {
    upid=$(printf '%s' "$1" | sed 's/.*"data":"\([^"]*\)".*/\1/')
    node=$(printf '%s' "$upid" | cut -d: -f2)
    looks=0
    while [ "$looks" -lt 1000 ]; do
        looks=$((looks + 1))
        said=$(pve GET "/nodes/$node/tasks/$upid/status")
        case $said in
        *'"exitstatus":"OK"'*) return 0 ;;
        *'"exitstatus":'*) echo "$said" >&2; return 1 ;;
        esac
    done
    echo "task $upid does not end" >&2
    return 1
}

wait_at_gate() {
    [ -z "$GATE" ] || [ ! -e "$GATE" ] || cat "$GATE"
}

machine="/nodes/$NODE/qemu/$ID"
case $1 in
make)
    set -- "newid=$ID" "name=$NAME" "description=$DESCRIPTION" full=0
    [ "$NODE" = pve1 ] || set -- "$@" "target=$NODE"
    task "$(pve POST "/nodes/pve1/qemu/$SOURCE/clone" "$@")"
    wait_at_gate
    pve PUT "$machine/config" "tags=$TAGS"
    task "$(pve POST "$machine/status/start")"
    ;;
remove)
    if ! said=$(pve GET "$machine/status/current"); then
        case $said in *"does not exist"*) exit 0 ;; esac
        echo "$said" >&2
        exit 1
    fi
    case $said in *'"status":"running"'*) task "$(pve POST "$machine/status/stop")" ;; esac
    task "$(pve DELETE "$machine?purge=1")"
    wait_at_gate
    ;;
esac
