"""What there is in the emulated EC2: moto's backends, and the lives of machines that moto does not play."""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

os.environ["MOTO_AMIS_PATH"] = str(
    Path(__file__).with_name("images.json")
)  # moto reads it when it is imported

import moto.backends
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import StateReason
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from tests.emulators.ec2.faults import Faults, Refusal, error_body
from tests.emulators.ec2.wire import (
    Answer,
    Call,
    SpotRequest,
    error_item,
    filters,
    fits,
    listed,
    tag_item,
    tags,
    xml,
)

if TYPE_CHECKING:
    from tests.emulators.machines import Machines

IMAGE = "ami-0d1ce9a5e0c0ffee0"  # of images.json
STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


class World:
    """The machines and what belongs to them; time is what the clock says."""

    def __init__(
        self,
        *,
        machines: Machines | None,
        clock: Callable[[], float],
        boot_seconds: float,
        faults: Faults,
    ) -> None:
        self.machines = machines
        self._boot_seconds = boot_seconds
        self._clock = clock
        self._faults = faults
        self._lock = threading.RLock()
        self._ids = itertools.count(1)
        self._moto = DomainDispatcherApplication(create_backend_app)
        self.reset()

    def reset(self) -> None:
        """An empty world in which nothing goes wrong."""
        with self._lock:
            self._faults.clear()
            self.boot_seconds = self._boot_seconds
            self.end_seconds = 0.0  # from shutting-down to terminated
            self.lag_seconds = 0.0  # until a new machine is listed
            self.group_busy = 0  # how often a group is still in use after its machine has ended
            self.parameters: dict[str, str] = {}  # public parameter → image; others have the usual image
            self.quotas: dict[str, float] = {}  # code of a quota → its value; others are large
            self.spot_requests: list[SpotRequest] = []
            self.notices: dict[str, str] = {}  # instance → when its end is announced for
            self._templates: dict[tuple[str, str], dict[str, str]] = {}
            self._scripts: dict[str, str] = {}
            self._due: list[tuple[float, Callable[[], None]]] = []
            for name in ("ec2", "ssm", "sts"):
                moto.backends.get_backend(name).reset()

    def answer(self, call: Call) -> Answer:
        """Play what is due by now, then answer."""
        with self._lock:
            self.settle()
            if call.params.get("DryRun") == "true":
                text = "Request would have succeeded, but DryRun flag is set."
                return Answer(412, error_body("DryRunOperation", text))
            own: Mapping[str, Callable[[Call], Answer]] = {
                "CreateLaunchTemplate": self._create_template,
                "CreateFleet": self._create_fleet,
                "TerminateInstances": self._terminate,
                "StopInstances": self._stop,
                "StartInstances": self._start,
                "DeleteSecurityGroup": self._delete_group,
                "DescribeSpotInstanceRequests": self._describe_requests,
                "CancelSpotInstanceRequests": self._cancel_requests,
                "GetParameter": self._parameter,
                "GetServiceQuota": self._quota,
            }
            return own.get(call.action, self.forward)(call)

    def settle(self) -> None:
        """Let happen what is due."""
        with self._lock:
            while due := [each for each in self._due if each[0] <= self._clock()]:
                first = min(due, key=lambda each: each[0])
                self._due.remove(first)
                first[1]()

    def forward(self, call: Call, params: Mapping[str, str] | None = None) -> Answer:
        """Ask moto, with other parameters if they are given."""
        body = urlencode(params).encode() if params is not None else call.body
        environ = {
            **call.environ,
            "wsgi.input": io.BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.errors": io.StringIO(),
        }
        found: list[int] = []

        def start(status: str, _headers: object, _error: object = None) -> Callable[[bytes], object]:
            found.append(int(status.split(maxsplit=1)[0]))
            return lambda _data: None

        answered: Iterable[bytes] = self._moto(environ, start)
        content = b"".join(answered)
        return Answer(
            found[-1], content, "application/x-amz-json-1.1" if call.action == "GetParameter" else "text/xml"
        )

    def _create_template(self, call: Call) -> Answer:
        answer = self.forward(call)
        if answer.status == 200:
            prefix = "LaunchTemplateData."
            data = {k.removeprefix(prefix): v for k, v in call.params.items() if k.startswith(prefix)}
            self._templates[call.region, call.params["LaunchTemplateName"]] = data
        return answer

    def _create_fleet(self, call: Call) -> Answer:
        """One machine of the first override that is granted; errors of the others, as instant fleets answer."""
        config = "LaunchTemplateConfigs.1."
        name = call.params.get(f"{config}LaunchTemplateSpecification.LaunchTemplateName", "")
        backend = self.backend(call.region)
        if name not in backend.launch_template_name_to_ids:
            text = f"The specified launch template, with template name {name}, does not exist."
            return Answer(400, error_body("InvalidLaunchTemplateName.NotFoundException", text))
        spot = call.params.get("TargetCapacitySpecification.DefaultTargetCapacityType") == "spot"
        errors, made = [], ""
        for number in itertools.count(1):
            override = f"{config}Overrides.{number}."
            if f"{override}InstanceType" not in call.params:
                break
            type_, subnet = call.params[f"{override}InstanceType"], call.params[f"{override}SubnetId"]
            zone = backend.get_subnet(subnet).availability_zone
            refusal = self._faults.of_machine(zone, type_, spot)
            if refusal is not None and not refusal.asynchronous:
                errors.append(error_item(refusal, type_, spot))
                continue
            answer, instance = self._launch(
                call, self._templates[call.region, name], type_, subnet, spot, refusal
            )
            if answer.status != 200:
                return answer
            made = (
                f"<item><instanceIds><item>{instance}</item></instanceIds><instanceType>{type_}</instanceType>"
                f"<lifecycle>{'spot' if spot else 'on-demand'}</lifecycle></item>"
            )
            break
        return xml(
            "CreateFleet",
            f"<fleetId>fleet-{next(self._ids):017x}</fleetId><errorSet>{''.join(errors)}</errorSet>"
            f"<fleetInstanceSet>{made}</fleetInstanceSet>",
        )

    def _launch(
        self,
        call: Call,
        template: Mapping[str, str],
        type_: str,
        subnet: str,
        spot: bool,
        refusal: Refusal | None,
    ) -> tuple[Answer, str]:
        params = {
            **template,
            "Action": "RunInstances",
            "Version": "2016-11-15",
            "InstanceType": type_,
            "MinCount": "1",
            "MaxCount": "1",
            "NetworkInterface.1.SubnetId": subnet,
        }
        for key in [key for key in params if key.endswith(".DeviceName")]:
            # moto does not know that a mapping takes what it leaves out from the image
            params.setdefault(key.replace(".DeviceName", ".Ebs.VolumeSize"), "8")
        if spot:
            params["InstanceMarketOptions.MarketType"] = "spot"
        answer = self.forward(call, params)
        found = re.search(rb"<instanceId>(i-[0-9a-f]+)<", answer.body)
        if answer.status != 200 or found is None:
            return answer, ""
        name = found[1].decode()
        instance = self.instance(name)
        self.put(name, "pending")
        for nic in instance.nics.values():
            nic.public_ip = None
        if spot:
            request = SpotRequest(f"sir-{next(self._ids):08x}", call.region, dict(tags(instance)), name)
            self.spot_requests.append(request)
            instance.spot_instance_request_id = request.id
        self._scripts[name] = (
            base64.b64decode(template["UserData"]).decode() if "UserData" in template else ""
        )
        if self.lag_seconds:
            self._hide(instance)
        if refusal is not None:
            self.later(self.boot_seconds, lambda: self.end(name, f"Server.{refusal.code}", refusal.message))
        else:
            self.later(self.boot_seconds, lambda: self._boot(name))
        return answer, name

    def _hide(self, instance: Any) -> None:
        """EC2 lists a new machine a little later; without its tags nobody finds it."""
        kept = dict(tags(instance))
        backend = self.backend(instance.region_name)
        backend.delete_tags([instance.id], dict.fromkeys(kept))
        self.later(self.lag_seconds, lambda: instance.add_tags(kept))

    def _boot(self, name: str) -> None:
        instance = self.instance(name)
        if instance.state not in ("pending", "stopped"):
            return
        address = f"127.77.{next(self._ids) % 250}.{1 + len(self._scripts) % 250}"
        if self.machines is not None:
            first = instance.state == "pending"
            script = self._scripts[name] if first else None
            address = self.machines.start(name, script, devices=gpus_of(instance.instance_type)).address
        instance.nics[0].public_ip = address
        self.put(name, "running")

    def end(self, name: str, code: str, message: str = "") -> None:
        """End a machine, for this reason; it takes `end_seconds`."""
        with self._lock:
            instance = self.instance(name)
            if instance.state in ("shutting-down", "terminated"):
                return
            if self.machines is not None:
                self.machines.kill(name)
            instance.terminate()
            instance.state_reason = StateReason(message or code, code)
            for request in self.spot_requests:
                if request.instance == name:
                    request.state = "closed"
            if self.end_seconds:
                self.put(name, "shutting-down")
                self.later(self.end_seconds, lambda: self.put(name, "terminated"))

    def interrupt(self, name: str) -> None:
        """Take a spot machine back."""
        self.end(
            name,
            "Server.SpotInstanceTermination",
            "Server.SpotInstanceTermination: Spot instance termination",
        )

    def guest_shutdown(self, name: str) -> None:
        """A machine shuts itself down: it is ended, if it was made so, else it is stopped."""
        with self._lock:
            if self.instance(name).instance_initiated_shutdown_behavior == "terminate":
                self.end(name, "Client.InstanceInitiatedShutdown")
            else:
                self.put(name, "stopped")

    def metadata(self, path: str, environ: Mapping[str, Any]) -> Answer:
        """`/imds/<instance>/latest/…`: the metadata service of a machine, version 2 only."""
        _, _, name, *rest = path.split("/")
        asked = "/".join(rest)
        if asked == "latest/api/token" and environ["REQUEST_METHOD"] == "PUT":
            return Answer(200, f"token-{name}".encode(), "text/plain")
        if environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN") != f"token-{name}":
            return Answer(401, b"", "text/plain")
        if asked == "latest/meta-data/spot/instance-action" and name in self.notices:
            notice = {"action": "terminate", "time": self.notices[name]}
            return Answer(200, json.dumps(notice).encode(), "application/json")
        return Answer(404, b"", "text/plain")

    def _terminate(self, call: Call) -> Answer:
        for name in listed(call, "InstanceId"):
            known = {each.id for each in self.backend(call.region).all_instances()}
            if name not in known:
                text = f"The instance ID '{name}' does not exist"
                return Answer(400, error_body("InvalidInstanceID.NotFound", text))
        for name in listed(call, "InstanceId"):
            self.end(
                name, "Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"
            )
        return xml("TerminateInstances", "<instancesSet/>")

    def _stop(self, call: Call) -> Answer:
        answer = self.forward(call)
        for name in listed(call, "InstanceId"):
            if self.machines is not None:
                self.machines.stop(name)
            self.instance(name).nics[0].public_ip = None
        return answer

    def _start(self, call: Call) -> Answer:
        names = listed(call, "InstanceId")
        answer = self.forward(call)
        for name in names:
            self.put(name, "stopped")
            self._boot(name)
        return answer

    def _delete_group(self, call: Call) -> Answer:
        group = call.params.get("GroupId", "")
        users = [
            each.id
            for each in self.backend(call.region).all_instances()
            if each.state != "terminated"
            and any(g.id == group for n in each.nics.values() for g in n.group_set)
        ]
        if users or self.group_busy > 0:
            self.group_busy -= not users
            text = f"resource {group} has a dependent object"
            return Answer(400, error_body("DependencyViolation", text))
        return self.forward(call)

    def _describe_requests(self, call: Call) -> Answer:
        wanted = filters(call)
        items = [
            f"<item><spotInstanceRequestId>{each.id}</spotInstanceRequestId><state>{each.state}</state>"
            f"<tagSet>{''.join(tag_item(k, v) for k, v in each.tags.items())}</tagSet></item>"
            for each in self.spot_requests
            if each.region == call.region and fits(each, wanted)
        ]
        return xml(
            "DescribeSpotInstanceRequests",
            f"<spotInstanceRequestSet>{''.join(items)}</spotInstanceRequestSet>",
        )

    def _cancel_requests(self, call: Call) -> Answer:
        for each in self.spot_requests:
            if each.id in listed(call, "SpotInstanceRequestId"):
                each.state = "cancelled"
        return xml("CancelSpotInstanceRequests", "<spotInstanceRequestSet/>")

    def _parameter(self, call: Call) -> Answer:
        name = str(json.loads(call.body)["Name"])
        known = ("/aws/service/deeplearning/", "/aws/service/canonical/")
        value = self.parameters.get(name, IMAGE if name.startswith(known) else "")
        if not value:
            return self.forward(call)
        found = {"Parameter": {"Name": name, "Type": "String", "Value": value, "Version": 1}}
        return Answer(200, json.dumps(found).encode(), "application/x-amz-json-1.1")

    def _quota(self, call: Call) -> Answer:
        code = str(json.loads(call.body)["QuotaCode"])
        found = {"Quota": {"ServiceCode": "ec2", "QuotaCode": code, "Value": self.quotas.get(code, 768.0)}}
        return Answer(200, json.dumps(found).encode(), "application/x-amz-json-1.1")

    def backend(self, region: str) -> Any:
        """Moto's side of a region."""
        return ec2_backends[DEFAULT_ACCOUNT_ID][region]

    def instance(self, name: str) -> Any:
        """Moto's side of a machine."""
        for backend in ec2_backends[DEFAULT_ACCOUNT_ID].values():
            for each in backend.all_instances():
                if each.id == name:
                    return each
        raise KeyError(name)

    def instances(self) -> list[str]:
        """The machines that have not ended."""
        self.settle()
        return [
            each.id
            for backend in list(ec2_backends[DEFAULT_ACCOUNT_ID].values())
            for each in backend.all_instances()
            if each.state != "terminated"
        ]

    def holdings(self) -> list[str]:
        """Everything that somebody made and nobody ended; empty after a clean end."""
        found = self.instances()
        for backend in list(ec2_backends[DEFAULT_ACCOUNT_ID].values()):
            found += [g.id for g in backend.describe_security_groups() if g.name != "default"]
            found += list(backend.launch_templates)
            found += [volume.id for volume in backend.describe_volumes()]
        return found + [each.id for each in self.spot_requests if each.state in ("open", "active")]

    def put(self, name: str, state: str) -> None:
        """Put a machine into a state."""
        instance = self.instance(name)
        instance._state.name, instance._state.code = state, STATES[state]

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Let something happen so many seconds from now."""
        if seconds <= 0:
            act()
        else:
            self._due.append((self._clock() + seconds, act))


def gpus_of(kind: str) -> list[str]:
    """The files of a type's NVIDIA GPUs, as moto's copy of EC2's own list counts them."""
    found = INSTANCE_TYPES.get(kind, {}).get("GpuInfo", {}).get("Gpus", [])
    count = sum(each["Count"] for each in found if each["Manufacturer"] == "NVIDIA")
    return [f"nvidia{number}" for number in range(count)]
