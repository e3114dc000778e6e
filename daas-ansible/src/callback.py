# Tells what happens in a playbook, a line of JSON each, on the standard output it was started with,
# which it takes for itself. Names of tasks, messages of failures, warnings and the recap: never a
# module's arguments, never what no_log hides. For ansible-core 2.14 and later.

import json
import os
import signal

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: daas_events
type: stdout
short_description: Tells what happens, a line of JSON each
description:
  - Names of tasks, messages of failures, warnings and the recap.
"""

# Longer texts are cut: who listens takes lines of 64 KiB.
TEXT_MAX = 3000
WARNINGS_MAX = 50


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "daas_events"

    def __init__(self):
        super().__init__()
        # Not inherited by what the playbook starts; and nothing else may be printed among the events.
        self._events = os.dup(1)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        self._warnings = 0

    def _tell(self, event, **fields):
        line = json.dumps(dict(fields, event=event), default=str) + "\n"
        rest = line.encode("utf-8", "replace")
        try:
            while rest:
                rest = rest[os.write(self._events, rest):]
        except BrokenPipeError:
            # Nobody listens any more: whoever started this is gone, and another may be at work.
            os.kill(os.getpid(), signal.SIGTERM)

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._tell("task", name=cut(task.get_name()))

    def v2_playbook_on_handler_task_start(self, task):
        self._tell("task", name=cut(task.get_name()))

    def v2_playbook_on_cleanup_task_start(self, task):
        self._tell("task", name=cut(task.get_name()))

    def v2_runner_on_ok(self, result):
        self._warn(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._warn(result)
        message = failure(of(result, "result"))
        task = cut(of(result, "task").get_name())
        self._tell("failed", task=task, message=message, ignored=bool(ignore_errors))

    def v2_runner_on_unreachable(self, result):
        ignored = bool(getattr(of(result, "task"), "ignore_unreachable", False))
        self._tell("unreachable", message=failure(of(result, "result")), ignored=ignored)

    def v2_playbook_on_no_hosts_matched(self):
        self._tell("warning", message="a play matches no host")

    def v2_playbook_on_stats(self, stats):
        sums = {"changed": 0, "failures": 0, "unreachable": 0}
        for host in stats.processed:
            summary = stats.summarize(host)
            for name in sums:
                sums[name] += summary[name]
        said = stats.custom.get("_run", {})
        said = {name: value for name, value in said.items() if name.startswith("daas_")}
        self._tell("recap", said=said, **sums)

    def _warn(self, result):
        data = of(result, "result")
        if hidden(data):
            return
        for warning in data.get("warnings") or []:
            if self._warnings < WARNINGS_MAX:
                self._warnings += 1
                self._tell("warning", message=cut(text(warning)))


def of(result, name):
    """What a result holds: public since ansible-core 2.19, with an underscore before."""
    if hasattr(result, name):
        return getattr(result, name)
    return getattr(result, "_" + name)


def hidden(data):
    return bool(data.get("_ansible_no_log")) or "censored" in data


def failure(data):
    """Why it failed: the message, and what a program complained of; never its arguments."""
    if hidden(data):
        return "hidden by no_log"
    parts = [text(data.get("msg") or "it gives no reason")]
    for item in data.get("results") or []:
        if isinstance(item, dict) and (item.get("failed") or item.get("unreachable")):
            parts.append(failure(item))
    for stream in ("stderr", "module_stderr", "stdout"):
        said = data.get(stream)
        if isinstance(said, str) and said.strip():
            parts.append(said.strip()[-1000:])
            break
    return cut(": ".join(parts))


def text(value):
    """A message, which ansible-core 2.19 may wrap."""
    for name in ("event", "msg"):
        value = getattr(value, name, value)
    return value if isinstance(value, str) else str(value)


def cut(value):
    value = str(value)
    return value if len(value) <= TEXT_MAX else value[:TEXT_MAX] + "…"
