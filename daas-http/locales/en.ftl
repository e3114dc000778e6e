# What the pages say, in English.
skip = Skip to the content
navigation = Pages
my-desktops = My desktops
all-desktops = All desktops
new-desktop = New desktop
sign-in = Sign in
sign-out = Sign out
name = Name
password = Password
realm = Account of
sign-in-wrong = The name or the password is wrong, or the account may not be used.
sign-in-not-entitled = You are known, but no group of yours may use desktops here. Ask your administrator.
sign-in-too-many = Too many wrong passwords. Try again in { $minutes ->
    [one] one minute
   *[other] { $minutes } minutes
  }.
sign-in-needs-more = Your account asks for a second factor, which cannot be given here.
sign-in-away = Passwords cannot be checked at the moment. Try again in a minute.
no-desktops = You have no desktops.
no-templates = There is nothing you may ask for.
template = Kind
size = Size
machine = Machine
address = Address
owner = Owner
ends = Ends
cores = { $cores ->
    [one] 1 processor
   *[other] { $cores } processors
  }
memory = { $mib } MiB memory
disk = { $gib } GiB disk
ready-in = ready in about { $seconds } s
usually = Usually ready in { $seconds } s
place-in-queue = number { $place } in the queue
rdp-file = Open by Remote Desktop
extend = One hour more
start = Start
restart = Restart
stop = Stop
delete = Delete
cancel = Cancel
keep = Keep it
create = Create
form-used = This form was used already. What is below is new.
delete-really = Delete { $name }?
delete-means = The machine and all that is on its disk are gone for good.
label = Name of your own (optional)
label-help = Lower-case letters, digits and dashes.
own-account = An account in it
session-user = User name
session-password = Password
account = My account
role = Role
sign-ins = Where you are signed in
this-browser = this browser
last-seen = Last seen { $time }
end-sign-in = Sign out there
request-id = Request { $id }: the log tells more under this number.
error-not-found = This is not there
error-forbidden = This is not for you
error-conflict = This cannot be done now
error-too-many = Too many at once
error-unavailable = Something does not answer
error-inside = Something went wrong
error-invalid = This cannot be meant
phase-queued = Waiting for its turn
phase-creating = Being made
phase-preparing = Being set up
phase-pooled = In reserve
phase-assigning = Being made yours
phase-ready = Ready
phase-stopping = Stopping
phase-stopped = Stopped
phase-starting = Starting
phase-restarting = Restarting
phase-destroying = Being deleted
phase-lost = Its machine has vanished
phase-parked = Needs an operator
phase-ended = Deleted
open-here = Open here
back = Back to the desktop
ctrl-alt-del = Ctrl+Alt+Del
clipboard = Clipboard
clipboard-text = Text to exchange with the desktop
fit-window = Fit to the window
full-screen = Full screen
connect-again = Connect again
keep-working = Keep working
idle-warning = This desktop is going to end at {"{"}time{"}"} because it is not used.
screen-of = Screen of
console-toolbar = Screen
console-leave = Ctrl, Alt and Shift together lead from the screen back to the buttons above it.
console-needs-script = The screen needs scripts to be allowed in this browser. Remote Desktop works without.
console-not-built = This server was built without the viewer. Open the desktop by Remote Desktop.
console-connecting = Connecting…
console-connected = Connected
console-again = The connection was lost. Connecting again…
console-restarted = The server restarts. Connecting again…
console-screen = The screen went away; the machine may be restarting. Connecting again…
console-not-ready = The desktop has no screen yet. Trying again…
console-away = The screen cannot be opened now. Trying again…
console-given-up = The screen did not come back.
console-gone = This desktop has ended.
console-ticket = The permission to connect had run out. Connect again.
console-not-yours = This screen is somebody else’s.
console-by-operator = An operator ended the connection.
console-idle = Nobody touched the screen for long, so the connection was ended.
console-signed-out = You have been signed out. Load this page again to sign in.
console-protocol = The viewer and the desktop do not understand each other.
console-full = Too many screens are open. Close one and connect again.
# -- identity: providers
sign-in-by = Sign in by { $realm }
provider-away = The service that knows you does not answer. Try again in a minute.
provider-refused = The service that knows you did not let you in.
provider-not-begun = This sign-in was begun elsewhere, or took too long. Please begin again.
provider-untrusted = What the service that knows you says cannot be trusted. Your administrator finds the reason in the log.
provider-not-set-up = Sign-in by this service is not set up right. Your administrator finds the reason in the log.
# -- identity: second factor
second-factor = Second factor
factor-why = With a second factor, a password that somebody has seen is not enough to sign in as you. An app on your telephone shows a code of six digits, another one every half minute.
factor-required = Your role asks for a second factor before anything else. An app on your telephone shows a code of six digits, another one every half minute.
factor-scan = Read this with the app (FreeOTP, Aegis, Google Authenticator or any other), then write the code that it shows.
factor-qr = The secret, for the camera of the app
factor-open = Open it on this device
factor-type = Or type it into the app:
factor-enrol = Turn it on
factor-since = On since { $time }.
factor-remove = Take it away
factor-elsewhere = Your second factor is a matter of the service that knows you.
code = Code
code-help = Write the code that the app shows, or one of your recovery codes.
code-wrong = The code is wrong, or was used before. Wait for the next one.
code-too-many = Too many wrong codes. Try again in { $minutes ->
    [one] one minute
   *[other] { $minutes } minutes
  }.
code-stale = This secret is no longer on offer. Use the one below.
code-absent = You have no second factor.
code-away = Codes cannot be checked at the moment. Try again in a minute.
sign-in-other = Sign in as somebody else
recovery-codes = Recovery codes
recovery-once = Keep these where you find them without your telephone. Each is good for one sign-in, and they are shown this once.
recovery-left = { $codes ->
    [one] One recovery code is left.
   *[other] { $codes } recovery codes are left.
  }
recovery-renew = Make new recovery codes
go-on = Go on
# -- identity: keys of one's own
keys = API keys
key-means = A program that has one of these keys acts as you. Give it the least role, and an end.
key-name = Name of the key
key-ends = Last day (optional)
key-make = Make a key
key-made = Your API key
key-once = This is the key { $name }. It is shown this once; keep it where only the program can read it.
key-revoke = Revoke
key-made-on = Made on { $day }
key-used-on = Last used on { $day }
key-never-used = Never used
key-ends-on = Ends on { $day }
key-name-wrong = This name cannot be: lower-case letters, digits and dashes.
key-role-wrong = A key cannot have a higher role than yours.
key-ends-wrong = This day is over, or is none.
key-taken = You have a key of this name.
key-too-many = You have { $most } keys already. Revoke one first.
