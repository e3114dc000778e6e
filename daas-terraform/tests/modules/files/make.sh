# Makes the file $WORLD/machines/$ID, once; then waits at the gate, if there is one.
set -eu
if ! (set -C; printf '%s' "$SESSION" > "$WORLD/machines/$ID") 2>/dev/null; then
    echo "machine $ID already exists" >&2
    exit 1
fi
echo made >> "$WORLD/made/$SESSION"
[ -z "$GATE" ] || [ ! -e "$GATE" ] || cat "$GATE"
