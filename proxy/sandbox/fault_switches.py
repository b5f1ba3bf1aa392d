"""Every fault of the sandbox in one place, as methods, and the same by name for a sandbox in another process.

`instance=None` means all of them. A fault stays until it is used up or `clear` is called. The HTTP side
(`POST /_sandbox/faults` with `{"fault": NAME, ...arguments}`) is a table of names onto these methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxy.sandbox.control_api import ApiError, ControlApi
from proxy.sandbox.instance import Loading, SignedOutShape, SignInShape
from proxy.sandbox.notebook_host import DropAt, NotebookHost
from proxy.sandbox.relay import CODINGS


class FaultSwitches:
    """Switches for a running sandbox."""

    def __init__(self, api: ControlApi, hosts: Mapping[str, NotebookHost]) -> None:
        self._api = api
        self._hosts = hosts

    def throttle(self, *, times: int = 1, operation: str | None = None) -> None:
        """The next `times` API calls (of `operation`, or of any) are answered ThrottlingException."""
        self._api.throttle(times=times, operation=operation)

    def fail(
        self, code: str, message: str, *, status: int = 400, times: int = 1, operation: str | None = None
    ) -> None:
        """The next `times` API calls are answered with this AWS error."""
        self._api.fail(ApiError(code, message, status=status), times=times, operation=operation)

    def deny(self, *, times: int = 1, operation: str = "CreatePresignedNotebookInstanceUrl") -> None:
        """The next `times` calls of `operation` are answered AccessDeniedException."""
        message = (
            f"User: arn:aws:sts::123456789012:assumed-role/nbgate/nbgate is not authorized to perform: "
            f"sagemaker:{operation} because no identity-based policy allows the sagemaker:{operation} action"
        )
        self.fail("AccessDeniedException", message, times=times, operation=operation)

    def slow_api(self, *, seconds: float) -> None:
        """Every API call waits this long (by the sandbox's clock) for its answer."""
        self._api.delay_seconds = seconds

    def slow(self, *, seconds: float, instance: str | None = None) -> None:
        """Every request to the notebook host waits this long (by the sandbox's clock)."""
        for host in self._chosen(instance):
            host.delay_seconds = seconds

    def expire_sessions(self, *, instance: str | None = None) -> None:
        """Everybody is signed out, now. WebSockets that are open stay open."""
        for host in self._chosen(instance):
            host.instance.expire_sessions()

    def expire_urls(self, *, instance: str | None = None) -> None:
        """No presigned URL given out so far signs in any more."""
        for host in self._chosen(instance):
            host.instance.expire_urls()

    def drop(
        self, *, at: DropAt = DropAt.HEAD, times: int = 1, after_bytes: int = 1, instance: str | None = None
    ) -> None:
        """The next `times` requests to the notebook host end in a broken connection."""
        for host in self._chosen(instance):
            host.drop_after_bytes = after_bytes
            host.drop(at, times=times)

    def drop_connections(self, *, instance: str | None = None) -> None:
        """All connections to the notebook host break, now, idle ones too."""
        for host in self._chosen(instance):
            host.drop_connections()

    def drop_websockets(self, *, instance: str | None = None) -> None:
        """All open WebSockets break, now, without a close frame."""
        for host in self._chosen(instance):
            host.drop_websockets()

    def close_websockets(self, *, code: int = 1001, instance: str | None = None) -> None:
        """The notebook host itself closes all open WebSockets, as AWS's may when a session ends."""
        for host in self._chosen(instance):
            host.close_websockets(code)

    async def refuse(self, *, instance: str | None = None) -> None:
        """Nobody listens at the notebook host; open connections break. `accept` undoes it."""
        for host in self._chosen(instance):
            await host.refuse()

    async def accept(self, *, instance: str | None = None) -> None:
        """The notebook host listens again, on the same port."""
        for host in self._chosen(instance):
            await host.accept()

    def set_status(self, *, status: str, instance: str | None = None) -> None:
        """The instance is in this state, for API and notebook host. Jupyter itself keeps running."""
        for host in self._chosen(instance):
            host.instance.set_status(status)

    def set_platform(self, *, platform: str, instance: str | None = None) -> None:
        """The instance is on this platform, such as notebook-al2-v1, on which SageMaker starts nothing any more."""
        for host in self._chosen(instance):
            host.instance.platform = platform

    def sign_in_as(self, *, shape: SignInShape, instance: str | None = None) -> None:
        """How the notebook host takes a token from now on."""
        for host in self._chosen(instance):
            host.instance.sign_in = shape

    def signed_out_as(self, *, shape: SignedOutShape, instance: str | None = None) -> None:
        """How the notebook host says "not signed in" from now on."""
        for host in self._chosen(instance):
            host.instance.signed_out = shape

    def load(
        self, *, shape: Loading = Loading.SIGNED_IN, status: int = 200, instance: str | None = None
    ) -> None:
        """A page that loads itself again stands in Jupyter's place, as while that is starting; WebSockets break."""
        for host in self._chosen(instance):
            host.instance.loading = shape
            host.instance.loading_status = status
            if shape is not Loading.OFF:
                host.drop_websockets()

    def answer(self, *, status: int, instance: str | None = None) -> None:
        """The front end answers everything by itself with this status (0: not any more); the API says InService."""
        for host in self._chosen(instance):
            host.instance.front_end_status = status

    def hide(self, *, fields: Sequence[str] = ("Server",), instance: str | None = None) -> None:
        """The front end does not pass on these fields of Jupyter's answers."""
        for host in self._chosen(instance):
            host.instance.hidden_fields = frozenset(name.lower() for name in fields)

    def compress(self, *, coding: str = "gzip", instance: str | None = None) -> None:
        """The front end compresses HTML (gzip or deflate; "" for not at all), whatever was asked for."""
        if coding not in {"", *CODINGS}:
            raise ValueError(f"unknown coding {coding!r}; there are {', '.join(CODINGS)}")
        for host in self._chosen(instance):
            host.instance.html_coding = coding

    def steer(self, *, on: bool = True, instance: str | None = None) -> None:
        """The front end sets the cookies by which it steers its page, with each answer and by its path."""
        for host in self._chosen(instance):
            host.instance.steering_cookies = on

    def foreign_host(self, *, host: str, instance: str | None = None) -> None:
        """Jupyter is handed this `Host` ("": the caller's). It allows the notebook host's origin all the same where
        `InstanceSpec.jupyter_host` said so when it started."""
        for one in self._chosen(instance):
            one.instance.jupyter_host = host

    def single_use_urls(self, *, on: bool = True, instance: str | None = None) -> None:
        """A URL signs in once."""
        for host in self._chosen(instance):
            host.instance.single_use_urls = on

    async def clear(self) -> None:
        """Undo every fault but statuses, platforms, shapes, expiries and changes of Jupyter's answers."""
        self._api.stop_failing()
        self._api.delay_seconds = 0.0
        for host in self._hosts.values():
            host.delay_seconds = 0.0
            host.instance.loading = Loading.OFF
            host.instance.front_end_status = 0
            host.stop_dropping()
            await host.accept()

    async def apply(self, command: Mapping[str, Any]) -> None:
        """Switch a fault by name, with its arguments beside it. ValueError says what is wrong with it."""
        arguments = dict(command)
        name = arguments.pop("fault", None)
        switches = {
            method.__name__: method
            for method in (
                self.throttle,
                self.fail,
                self.deny,
                self.slow_api,
                self.slow,
                self.expire_sessions,
                self.expire_urls,
                self.drop,
                self.drop_connections,
                self.drop_websockets,
                self.close_websockets,
                self.refuse,
                self.accept,
                self.set_status,
                self.set_platform,
                self.sign_in_as,
                self.signed_out_as,
                self.load,
                self.answer,
                self.hide,
                self.compress,
                self.steer,
                self.foreign_host,
                self.single_use_urls,
                self.clear,
            )
        }
        if name not in switches:
            raise ValueError(f"unknown fault {name!r}; there are {', '.join(sorted(switches))}")
        if "at" in arguments:
            arguments["at"] = DropAt(arguments["at"])
        if "shape" in arguments:
            shapes: dict[str, type[SignInShape | SignedOutShape | Loading]] = {
                "sign_in_as": SignInShape,
                "load": Loading,
            }
            arguments["shape"] = shapes.get(name, SignedOutShape)(arguments["shape"])
        try:
            result = switches[name](**arguments)
        except TypeError as error:
            raise ValueError(str(error)) from error
        if result is not None:
            await result

    def _chosen(self, instance: str | None) -> Iterable[NotebookHost]:
        if instance is None:
            return tuple(self._hosts.values())
        if instance not in self._hosts:
            raise ValueError(f"unknown instance {instance!r}; there are {', '.join(self._hosts)}")
        return (self._hosts[instance],)
