#!/bin/sh
# Tells the orchestrator who uses this desktop: at once when somebody comes or goes, and every
# period. Durations are the guest's own, from /proc/uptime, so that no clock needs to be right.
set -u
umask 077
run=${RUNTIME_DIRECTORY:-/run/daas-activity}
mkdir -p "$run"
period=${DAAS_ACTIVITY_PERIOD_SECONDS:-30}
read -r boot_id < /proc/sys/kernel/random/boot_id

uptime_seconds() {
    read -r up rest < /proc/uptime
    echo "${up%%.*}"
}

# One line per display of an XRDP session: user, display.
displays() {
    ps -eo user:64=,args= |
        sed -n 's/^\([^ ]*\) .*[Xx]org \(:[0-9][0-9]*\) .*xrdp.*/\1 \2/p' | sort -u
}

# How long nobody touched keyboard or mouse of this display, in seconds.
idle_seconds() {
    home=$(getent passwd "$1" | cut -d : -f 6)
    ms=$(timeout 5 runuser -u "$1" -- env DISPLAY="$2" XAUTHORITY="$home/.Xauthority" \
        xprintidle 2>/dev/null) || ms=0
    case $ms in '' | *[!0-9]*) ms=0 ;; esac
    echo $((ms / 1000))
}

# Writes the report to $run/report, and who is there to $run/who.
look() {
    now=$(uptime_seconds)
    links=$(ss -xp state established 2>/dev/null)
    : > "$run/who.new"
    list=
    displays > "$run/displays"
    while read -r user display; do
        number=${display#:}
        case $links in
            *"xrdp_display_$number "* | *"xrdp_display_$number	"*) state=connected ;;
            *) state=disconnected ;;
        esac
        echo "$user $display $state" >> "$run/who.new"
        was= since=
        [ -f "$run/state.$number" ] && read -r was since < "$run/state.$number"
        if [ "$was" != "$state" ]; then
            since=$now
            echo "$state $since" > "$run/state.$number"
        fi
        name=$(printf '%s' "$user" | sed 's/["\\]/\\&/g')
        idle=$(idle_seconds "$user" "$display")
        list="$list${list:+,}{\"user\":\"$name\",\"display\":\"$display\",\"state\":\"$state\""
        list="$list,\"idle_seconds\":$idle,\"state_seconds\":$((now - since))}"
    done < "$run/displays"
    printf '{"sessions":[%s],"uptime_seconds":%s,"boot_id":"%s"}' "$list" "$now" "$boot_id" \
        > "$run/report"
}

# The token goes by a file: command lines can be read by everybody.
send() {
    printf 'Authorization: Bearer %s\n' "$(cat "$DAAS_ACTIVITY_TOKEN_FILE")" > "$run/header"
    set -- --silent --show-error --fail --max-time 10 --header "@$run/header" \
        --header 'Content-Type: application/json' --data-binary "@$run/report" --output /dev/null
    [ -n "${DAAS_ACTIVITY_CA_FILE:-}" ] && set -- "$@" --cacert "$DAAS_ACTIVITY_CA_FILE"
    curl "$@" "$DAAS_ACTIVITY_URL"
}

: > "$run/who"
next=0
wait=2
while :; do
    look
    now=$(uptime_seconds)
    if [ "$now" -ge "$next" ] || ! cmp -s "$run/who" "$run/who.new"; then
        if send; then
            mv -f "$run/who.new" "$run/who"
            next=$((now + period))
            wait=2
        else
            # The orchestrator is away: it is tried again, ever more seldom, but never given up.
            next=$((now + wait))
            wait=$((wait < 10 ? wait + 2 : 10))
        fi
    fi
    sleep 2
done
