"""Which service and operation an exchange called, for those who watch; all of AWS may be meant."""

from __future__ import annotations

from awsllm.server.exchanges import Exchange
from awsllm.server.services import meant
from awsllm.server.surfaces.routes import service_of


def called(exchange: Exchange) -> tuple[str, str]:
    """The service and the operation, as far as that is known."""
    service = service_of(exchange.incoming)
    if service is None:
        if exchange.meant is None:  # each of those who watch asks
            found, name = meant(exchange.incoming)
            exchange.meant = found.name if found is not None else "unknown", name or "unknown"
        return exchange.meant
    return service, exchange.request.operation if exchange.request is not None else "unknown"
