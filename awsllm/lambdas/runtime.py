"""The loop between Lambda's Runtime API and a handler, which streams what a generator yields.

AWS's own client for Python (awslambdaric 4.2) has no streaming: it makes JSON of what a handler returns. This one takes
its place in the managed runtime. The package and the layer of ``awsllm lambda package`` have a script,
``awsllm-stream`` (``data/awsllm-stream`` here), and the function two settings:

    AWS_LAMBDA_EXEC_WRAPPER   /var/task/awsllm-stream, from a layer /opt/awsllm-stream
    Handler                   awsllm.lambdas.stream.handler, or a function of one's own

A handler that is a generator function streams. What it yields first may be a ``StreamHead``; texts and bytes follow,
each sent as it comes. Whatever else a handler returns is answered as JSON, as with AWS's client.

    def handler(event, context):
        yield StreamHead(200, {"content-type": "text/plain"})
        yield "Hello, "
        yield "world"

The first item is awaited before the answer is begun, so that what goes wrong until then is an error of the invocation,
and can have a status. What goes wrong later ends the answer with trailers that say so. A generator is closed when it is
not read to its end: the caller's connection was closed, or Lambda ends the process (SIGTERM).

One invocation is answered at a time: Managed Instances with several (``AWS_LAMBDA_MAX_CONCURRENCY``) need AWS's client.

An answer carries the id of its invocation (``Lambda-Runtime-Invocation-Id``, since 2026), by which Lambda refuses one
that comes after its invocation's time is over: that is logged, and the next one is taken.

Errors name their class and where they were raised. Their words are shown where they are awsllm's own; those of others
may quote what a caller sent.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Unpack

from awsllm.errors import AwsllmError
from awsllm.lambdas.http.stream_head import CONTENT_TYPE, StreamHead

if TYPE_CHECKING:
    from awsllm.lambdas.logs import LogMembers

API_PATH = "/2018-06-01/runtime"
ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
_ERROR_BODY = "Lambda-Runtime-Function-Error-Body"
INVOCATION_ID = "Lambda-Runtime-Invocation-Id"
_TRACE_ID = "_X_AMZN_TRACE_ID"
_MAX_BUFFERED = 6 * 1024 * 1024  # bytes of a response that is not streamed ("Lambda quotas")
_MAX_STREAMED = 200 * 1024 * 1024  # of one that is
_NOTHING = object()
_FRAMES = 20  # of a traceback


class RuntimeApiError(Exception):
    """The Runtime API does not answer, or refuses: the process has nothing left to do."""


class CallerLeftError(Exception):
    """The Runtime API takes no more of this answer."""


class OversizedError(AwsllmError):
    """A response over Lambda's limit."""


class HandlerError(AwsllmError):
    """There is no such handler; ``kind`` is Lambda's word for why."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Delivered(NamedTuple):
    """An invocation: its event as bytes, and the headers with names in lower case."""

    event: bytes
    headers: dict[str, str]


class RuntimeContext:
    """What a handler is told beside the event: Lambda's names. ``client_context`` and ``identity`` are the JSON that
    the caller sent, or None."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        variables = os.environ
        self.aws_request_id = headers.get("lambda-runtime-aws-request-id", "")
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn", "")
        self.function_name = variables.get("AWS_LAMBDA_FUNCTION_NAME", "")
        self.function_version = variables.get("AWS_LAMBDA_FUNCTION_VERSION", "")
        self.memory_limit_in_mb = variables.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
        self.log_group_name = variables.get("AWS_LAMBDA_LOG_GROUP_NAME", "")
        self.log_stream_name = variables.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
        self.tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        self.client_context = _json_or_none(headers.get("lambda-runtime-client-context"))
        self.identity = _json_or_none(headers.get("lambda-runtime-cognito-identity"))
        self.invocation_id = headers.get(INVOCATION_ID.lower())
        self._deadline = int(headers.get("lambda-runtime-deadline-ms", "0"))

    def get_remaining_time_in_millis(self) -> int:
        return max(0, self._deadline - int(time.time() * 1000))


def _json_or_none(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):  # a caller wrote it, who shall not keep the function from running
        return None


class _Api:
    """The Runtime API's client: one connection, kept open, on which ``next`` waits as long as it takes."""

    def __init__(self, address: str) -> None:
        self._connection = HTTPConnection(address)

    def next(self) -> Delivered:
        return self._get("/invocation/next")

    def restore_next(self) -> None:
        """Returns once the snapshot is taken and restored."""
        self._get("/restore/next")

    def _get(self, path: str) -> Delivered:
        try:
            response = self._asked(path)
            body = response.read()
        except (OSError, HTTPException) as error:
            raise RuntimeApiError(f"GET {path} failed: {type(error).__name__}") from error
        if response.status != 200:
            raise RuntimeApiError(f"GET {path} was answered with status {response.status}")
        return Delivered(body, {name.lower(): value for name, value in response.getheaders()})

    def _asked(self, path: str) -> Any:
        """A connection that was closed since the last call is made anew, once."""
        try:
            self._connection.request("GET", API_PATH + path)
            return self._connection.getresponse()
        except ConnectionError:
            self._connection.close()
        self._connection.request("GET", API_PATH + path)
        return self._connection.getresponse()

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """The status. Whoever is no more there to be told is not told."""
        try:
            self._connection.request("POST", API_PATH + path, body, headers)
            response = self._connection.getresponse()
            response.read()
            return response.status
        except (OSError, HTTPException):
            self._connection.close()
            return 0

    def close(self) -> None:
        self._connection.close()

    def begin(self, context: RuntimeContext, content_type: str, first: bytes) -> _Streaming:
        """A streamed answer, of which the first chunk is sent with the head."""
        path = f"{API_PATH}/invocation/{context.aws_request_id}/response"
        return _Streaming(self._connection, path, _headers(context, content_type), first)


class _Streaming:
    """An answer that is sent in chunks. Whoever gets ``CallerLeftError`` sends no more."""

    def __init__(self, connection: HTTPConnection, path: str, headers: Mapping[str, str], first: bytes) -> None:
        self._connection = connection
        self._sent = len(first)
        connection.putrequest("POST", path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.putheader("Trailer", f"{ERROR_TYPE}, {_ERROR_BODY}")
        try:
            connection.endheaders(_chunk(first))
        except OSError as error:
            raise self._left() from error

    def send(self, data: bytes) -> None:
        if not data:  # an empty chunk would be the end
            return
        self._sent += len(data)
        if self._sent > _MAX_STREAMED:
            raise OversizedError(f"a streamed response has at most {_MAX_STREAMED >> 20} MB")
        self._write(_chunk(data))

    def end(self, failure: tuple[str, bytes] | None = None) -> int:
        """The last chunk, with trailers if something went wrong, and the status of the Runtime API's reply."""
        trailers = b""
        if failure is not None:
            kind, body = failure
            trailers = f"{ERROR_TYPE}: {kind}\r\n{_ERROR_BODY}: ".encode() + base64.b64encode(body) + b"\r\n"
        self._write(b"0\r\n" + trailers + b"\r\n")
        try:
            response = self._connection.getresponse()
            response.read()
            return response.status
        except (OSError, HTTPException) as error:
            raise self._left() from error

    def _write(self, data: bytes) -> None:
        from awsllm.aws.pool import has_unread

        if has_unread(self._connection.sock):  # closed, or answered before it was whole: a refusal
            raise self._left()
        try:
            self._connection.send(data)
        except OSError as error:
            raise self._left() from error

    def _left(self) -> CallerLeftError:
        self._connection.close()
        return CallerLeftError()


def _headers(context: RuntimeContext, content_type: str = "application/json") -> dict[str, str]:
    """Those of every answer to an invocation."""
    echoed = {INVOCATION_ID: context.invocation_id} if context.invocation_id else {}
    return {"Content-Type": content_type, **echoed}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Runtime:
    """Runs one handler until the process ends."""

    def __init__(self, address: str) -> None:
        self._api = _Api(address)

    def run(self, name: str) -> NoReturn:
        try:
            self._run(name)
        finally:
            self._api.close()

    def _run(self, name: str) -> NoReturn:
        try:
            handler = load(name)
        except Exception as error:
            self._cannot_begin(error, *_described(error, ""))
        _hear_logging()
        if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
            self._restore()
        while True:
            self._answer(handler, self._api.next())

    def _cannot_begin(self, error: Exception, kind: str, body: bytes) -> NoReturn:
        _log("ERROR", "the function cannot begin", RuntimeContext({}), error)
        self._api.post("/init/error", body, {"Content-Type": "application/json", ERROR_TYPE: kind})
        sys.exit(1)

    def _restore(self) -> None:
        """As awslambdaric does for the managed runtime, and "Implementing SnapStart hooks" of the Lambda guide asks of
        others: the hooks before the snapshot in reverse order, the snapshot, then those after it in order."""
        try:
            from snapshot_restore_py import get_after_restore, get_before_snapshot
        except ImportError:  # nothing can have registered
            get_before_snapshot = get_after_restore = list
        try:
            hooks = get_before_snapshot()
            while hooks:
                _call(hooks.pop())
            self._api.restore_next()
        except Exception as error:
            self._cannot_begin(error, "Runtime.BeforeSnapshotError", _described(error, "")[1])
        try:
            for hook in get_after_restore():
                _call(hook)
        except Exception as error:
            _log("ERROR", "a hook failed after the restore", RuntimeContext({}), error)
            headers = {"Content-Type": "application/json", ERROR_TYPE: "Runtime.AfterRestoreError"}
            self._api.post("/restore/error", _described(error, "")[1], headers)
            sys.exit(1)

    def _answer(self, handler: Any, incoming: Delivered) -> None:
        if trace := incoming.headers.get("lambda-runtime-trace-id"):
            os.environ[_TRACE_ID] = trace
        else:
            os.environ.pop(_TRACE_ID, None)
        context = RuntimeContext(incoming.headers)
        try:
            result = handler(_event(incoming), context)
            if isinstance(result, Iterator):
                first = next(result, _NOTHING)
                if first is not _NOTHING:
                    self._stream(context, first, result)
                    return
                result = None
            self._respond(context, result)
        except Exception as error:
            self._fail(context, error)

    def _respond(self, context: RuntimeContext, result: Any) -> None:
        kind, body = ("application/octet-stream", result) if isinstance(result, bytes) else _json(result)
        if len(body) > _MAX_BUFFERED:
            raise OversizedError(
                f"the response has {len(body)} bytes, and one that is not streamed at most {_MAX_BUFFERED}: "
                "write it to S3, or stream it"
            )
        path = f"/invocation/{context.aws_request_id}/response"
        self._check(self._api.post(path, body, _headers(context, kind)), context)

    def _check(self, status: int, context: RuntimeContext) -> None:
        if status != 202:
            _log("ERROR", "Lambda did not take the response", context, status=status)

    def _fail(self, context: RuntimeContext, error: Exception) -> None:
        _log("ERROR", "the invocation failed", context, error)
        kind, body = _described(error, context.aws_request_id)
        headers = {**_headers(context), ERROR_TYPE: kind}
        self._check(self._api.post(f"/invocation/{context.aws_request_id}/error", body, headers), context)

    def _stream(self, context: RuntimeContext, first: Any, rest: Iterator[Any]) -> None:
        try:
            if isinstance(first, StreamHead):
                streaming = self._api.begin(context, CONTENT_TYPE, first.encode())
            else:
                streaming = self._api.begin(context, "application/octet-stream", _bytes(first))
            try:
                for item in rest:
                    streaming.send(_bytes(item))
            except CallerLeftError:
                raise
            except BaseException as error:
                _log("ERROR", "the answer broke off", context, error)
                self._break_off(streaming, error, context)
                if not isinstance(error, Exception):  # the process is to end
                    raise
                return
            self._check(streaming.end(), context)
        except CallerLeftError:
            _log("WARNING", "the caller left before the answer was whole", context)
        finally:
            close = getattr(rest, "close", None)
            if close is not None:
                close()

    def _break_off(self, streaming: _Streaming, error: BaseException, context: RuntimeContext) -> None:
        try:
            self._check(streaming.end(_described(error, context.aws_request_id)), context)
        except CallerLeftError:
            _log("WARNING", "the caller left before the answer was whole", context)


def load(name: str) -> Any:
    """The handler that ``name`` (``module.attribute``; a path's slashes are dots) means."""
    module_name, dot, attribute = name.rpartition(".")
    if not dot:
        raise HandlerError("Runtime.MalformedHandlerName", f"the handler {name!r} is no MODULE.FUNCTION")
    try:
        module = import_module(module_name.replace("/", "."))
    except ImportError as error:
        what = f": {error.name} is missing" if error.name else ""
        raise HandlerError(
            "Runtime.ImportModuleError", f"the module {module_name!r} cannot be imported{what}"
        ) from error
    except SyntaxError as error:
        where = f"{error.filename}, line {error.lineno}"
        raise HandlerError("Runtime.UserCodeSyntaxError", f"{module_name!r} is no Python ({where})") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise HandlerError("Runtime.HandlerNotFound", f"the module {module_name!r} has no {attribute!r}") from error


def _call(hook: Any) -> None:
    function, arguments, options = hook
    function(*arguments, **options)


def _event(incoming: Delivered) -> Any:
    try:
        return json.loads(incoming.event)
    except (ValueError, RecursionError) as error:
        raise HandlerError("Runtime.UnmarshalError", "the event is no JSON") from error


def _json(result: Any) -> tuple[str, bytes]:
    try:
        text = json.dumps(result, ensure_ascii=False, default=_number)
    except (TypeError, ValueError, RecursionError) as error:
        name = type(result).__name__
        raise HandlerError("Runtime.MarshalError", f"what the handler returned ({name}) is no JSON") from error
    return "application/json", text.encode("utf-8", "backslashreplace")  # half a surrogate pair becomes its escape


def _number(value: Any) -> Any:
    """DynamoDB's numbers, as AWS's client writes them."""
    from decimal import Decimal

    if not isinstance(value, Decimal):
        raise TypeError(type(value).__name__)
    return int(value) if value == value.to_integral_value() else float(value)


def _bytes(item: Any) -> bytes:
    if isinstance(item, str):
        return item.encode("utf-8", "replace")
    if isinstance(item, bytes | bytearray | memoryview):
        return bytes(item)
    raise TypeError(f"a streaming handler yields text and bytes, not {type(item).__name__}")


def _described(error: BaseException, request_id: str) -> tuple[str, bytes]:
    """Lambda's word for an error, and the JSON that it is told with."""
    name = type(error).__name__
    # The word goes into a header, where the letters that Python takes in names cannot stand.
    kind = error.kind if isinstance(error, HandlerError) else f"Runtime.{name if name.isascii() else 'Error'}"
    found = {
        "errorMessage": error.message if isinstance(error, AwsllmError) else "the function failed; its log says where",
        "errorType": kind if isinstance(error, HandlerError) else name,
        "requestId": request_id,
        "stackTrace": _places(error),
    }
    return kind, json.dumps(found).encode()


def _places(error: BaseException) -> list[str]:
    """Where an error was raised, without the source lines or values."""
    places = []
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename != __file__:
            places.append(f"{code.co_filename}, line {traceback.tb_lineno}, in {code.co_name}")
        traceback = traceback.tb_next
    return places[-_FRAMES:]


def _log(
    level: str,
    message: str,
    context: RuntimeContext,
    raised: BaseException | None = None,
    **members: Unpack[LogMembers],
) -> None:
    from awsllm.lambdas.logs import log, of_error

    told: LogMembers = members if raised is None else of_error(raised)
    log(level, message, context, **told)


def _hear_logging() -> None:
    """What a function says by ``logging`` reaches its log, as under AWS's client. Who does not load it does not pay."""
    logging = sys.modules.get("logging")
    if logging is None or logging.getLogger().handlers:
        return
    line = logging.Formatter("[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(message)s", "%Y-%m-%dT%H:%M:%S")
    line.converter = time.gmtime
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(line)
    logging.getLogger().addHandler(handler)
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL")
    if level in ("DEBUG", "INFO", "WARN", "ERROR", "FATAL"):
        logging.getLogger().setLevel(level)


def _prepare_process() -> None:
    """SIGTERM ends the process as an exception does, so that generators are closed and callers told."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what is logged is seen, come what may
    layer = f"/opt/python/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    if os.path.isdir(layer) and layer not in sys.path:
        sys.path.append(layer)


def main(arguments: list[str]) -> NoReturn:
    _prepare_process()
    name = arguments[0] if arguments else os.environ.get("_HANDLER", "")
    try:
        address = os.environ["AWS_LAMBDA_RUNTIME_API"]
    except KeyError:
        sys.exit("AWS_LAMBDA_RUNTIME_API is not set: Lambda starts this; to try a handler, `awsllm lambda invoke`")
    try:
        Runtime(address).run(name)
    except RuntimeApiError as error:
        sys.exit(f"awsllm: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
