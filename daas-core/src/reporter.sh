#!/bin/sh
# Tells the orchestrator who uses this desktop: at once when somebody comes or goes, and every
# period. Durations are the guest's own, from /proc/uptime, so that no clock needs to be right.
set -u
umask 077
run=${RUNTIME_DIRECTORY:-/run/daas-activity}
mkdir -p "$run"
period=${DAAS_ACTIVITY_PERIOD_SECONDS:-30}
read -r boot_id < /proc/sys/kernel/random/boot_id

# One line per display of an XRDP session: user, display.
displays() {
    ps -eo user:64=,args= |
        sed -n 's/^\([^ ]*\) .*[Xx]org \(:[0-9][0-9]*\) .*xrdp.*/\1 \2/p' | sort -u
}

# How long nobody touched keyboard or mouse of this display, in seconds. Where that cannot be told,
# somebody may be working: 0.
idle_seconds() {
    entry=$(getent passwd "$1") || entry=
    gid=${entry#*:*:*:}
    home=${gid#*:*:}
    gid=${gid%%:*}
    home=${home%%:*}
    ms=$(timeout 5 setpriv --reuid="$1" --regid="$gid" --init-groups \
        env -i DISPLAY="$2" XAUTHORITY="$home/.Xauthority" /usr/bin/xprintidle 2>/dev/null) || ms=0
    case $ms in '' | *[!0-9]*) ms=0 ;; esac
    idle=$((ms / 1000))
}

# Sets $since to when this user's display got into this state, as far as it was seen.
since() {
    since=$now
    while read -r user_then display_then state_then since_then; do
        if [ "$user_then $display_then $state_then" = "$1 $2 $3" ]; then
            since=$since_then
        fi
    done < "$run/since"
}

# Writes the report to $run/report, and sets $who to who is there and $now.
look() {
    read -r now rest < /proc/uptime
    now=${now%%.*}
    links=$(ss -x state established 2>/dev/null)
    who=
    list=
    displays > "$run/displays"
    : > "$run/since.new"
    while read -r user display; do
        case $links in
            *"xrdp_display_${display#:} "*) state=connected ;;
            *) state=disconnected ;;
        esac
        who="$who$user $display $state;"
        since "$user" "$display" "$state"
        echo "$user $display $state $since" >> "$run/since.new"
        idle_seconds "$user" "$display"
        name=$(printf '%s' "$user" | sed 's/["\\]/\\&/g')
        list="$list${list:+,}{\"user\":\"$name\",\"display\":\"$display\",\"state\":\"$state\""
        list="$list,\"idle_seconds\":$idle,\"state_seconds\":$((now - since))}"
    done < "$run/displays"
    mv -f "$run/since.new" "$run/since"
    printf '{"sessions":[%s],"uptime_seconds":%s,"boot_id":"%s"}' "$list" "$now" "$boot_id" \
        > "$run/report"
}

# The token goes by a file: command lines can be read by everybody.
send() {
    printf 'Authorization: Bearer %s\n' "$(cat "$DAAS_ACTIVITY_TOKEN_FILE")" > "$run/header"
    set -- --disable --silent --show-error --fail --max-time 10 --noproxy '*' \
        --header "@$run/header" --header 'Content-Type: application/json' \
        --data-binary "@$run/report" --output /dev/null
    [ -n "${DAAS_ACTIVITY_CA_FILE:-}" ] && set -- "$@" --cacert "$DAAS_ACTIVITY_CA_FILE"
    curl "$@" "$DAAS_ACTIVITY_URL"
}

# What was told last survives a restart of this script, or a session would seem to begin anew.
[ -f "$run/since" ] || : > "$run/since"
told=
next=0
retry=0
wait=2
while :; do
    look
    if [ "$now" -ge "$retry" ] && { [ "$now" -ge "$next" ] || [ "$who" != "$told" ]; }; then
        if send; then
            told=$who
            next=$((now + period))
            wait=2
        else
            # The orchestrator is away: it is tried again, ever more seldom, but never given up.
            retry=$((now + wait))
            wait=$((wait < 10 ? wait + 2 : 10))
        fi
    fi
    sleep 2
done
