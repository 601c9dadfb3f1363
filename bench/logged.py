"""How many requests the log holds, of all tenants: the installation is the benchmark's own."""

from gateway.models import RequestLog


def main(_arguments: list[str]) -> int:
    return int(RequestLog.objects.count())
