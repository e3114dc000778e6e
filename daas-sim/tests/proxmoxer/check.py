#!/usr/bin/env python3
"""Drives a cluster with proxmoxer, Proxmox's Python client, unmodified.

usage: check.py URL CA_FILE USER PASSWORD USER!TOKEN=SECRET [TEMPLATE]

Signs in by ticket and by token; with each it lists, clones, waits for tasks, configures, starts,
asks the guest agent, and deletes. Exits 0 when everything was as expected.
"""

import sys
import time
from urllib.parse import quote, urlsplit

from proxmoxer import ProxmoxAPI
from proxmoxer.core import AuthenticationError, ResourceException
from proxmoxer.tools import Tasks

DEADLINE = 60
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGRhYXM+/= user@host"


def expect(what, condition, seen):
    if not condition:
        raise SystemExit(f"check.py: {what}: got {seen!r}")


def wait(api, upid):
    task = Tasks.blocking_status(api, upid, timeout=DEADLINE, polling_interval=0.05)
    expect(f"task {upid} ends", task is not None, task)
    expect(f"task {upid} is OK", task.get("exitstatus") == "OK", task)


def agent_interfaces(vm):
    """The guest's interfaces, once the agent runs."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return vm.agent("network-get-interfaces").get()["result"]
        except ResourceException as error:
            running = "QEMU guest agent is not running" in str(error)
            if not running or time.monotonic() > deadline:
                raise


def life(api, template):
    """One machine from its clone to its deletion."""
    expect("a version", api.version.get()["version"][0] in "89", api.version.get())
    node = next(
        vm["node"] for vm in api.cluster.resources.get(type="vm") if vm["vmid"] == template
    )
    expect("the node is online", any(n["node"] == node for n in api.nodes.get()), node)
    vmid = int(api.cluster.nextid.get())
    source = api.nodes(node).qemu(template)
    wait(api, source.clone.post(newid=vmid, name=f"pmx-{vmid}", full=0))
    vm = api.nodes(node).qemu(vmid)
    try:
        source.clone.post(newid=vmid)
        raise SystemExit("check.py: the same id was cloned twice")
    except ResourceException as error:
        expect("the id is taken", "already exists" in str(error), str(error))
    vm.config.put(cores=1, memory=1024, ciuser="pmx", sshkeys=quote(KEY, safe=""), tags="pmx")
    config = vm.config.get()
    expect("the name", config["name"] == f"pmx-{vmid}", config)
    expect("the memory", config["memory"] == "1024", config)
    expect("no lock", "lock" not in config, config)
    wait(api, vm.status.start.post())
    addresses = [a["ip-address"] for i in agent_interfaces(vm) for a in i["ip-addresses"]]
    expect("an address", any(not a.startswith(("127.", "::1", "fe80")) for a in addresses), addresses)
    expect("a pid", "pid" in vm.agent("exec").post(command=["true"]), None)
    expect("it runs", vm.status.current.get()["status"] == "running", None)
    wait(api, vm.status.stop.post())
    wait(api, vm.delete(purge=1))
    try:
        vm.config.get()
        raise SystemExit("check.py: the machine is still there")
    except ResourceException as error:
        expect("it is gone", error.status_code == 500 and "does not exist" in str(error), str(error))


def main():
    url, ca_file, user, password, token = sys.argv[1:6]
    template = int(sys.argv[6]) if len(sys.argv) > 6 else 9000
    place = urlsplit(url)
    common = {"host": place.hostname, "port": place.port, "verify_ssl": ca_file}
    try:
        ProxmoxAPI(user=user, password=password + "x", **common)
        raise SystemExit("check.py: a wrong password was taken")
    except AuthenticationError:
        pass
    life(ProxmoxAPI(user=user, password=password, **common), template)
    full, secret = token.split("=", 1)
    token_user, name = full.split("!", 1)
    life(ProxmoxAPI(user=token_user, token_name=name, token_value=secret, **common), template)
    print("proxmoxer: ticket and token, all as expected")


if __name__ == "__main__":
    main()
