"""The APIs that clients may speak beside chat completions. Adding one is a file beside this and a line here."""

from collections.abc import Mapping

from gateway.dialects.dialect import Dialect
from gateway.dialects.messages import MESSAGES
from gateway.dialects.responses import RESPONSES
from gateway.schema import Endpoint

DIALECTS: Mapping[Endpoint, Dialect] = {dialect.endpoint: dialect for dialect in (RESPONSES, MESSAGES)}
