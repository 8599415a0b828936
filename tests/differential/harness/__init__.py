"""What a file in `packages/` imports: the client that its requests are sent with, and the gate that its app waits at.

Importing this package closes the network: from then on the process connects to this machine only.
"""

from __future__ import annotations

from tests.differential.harness.client import HOST, Client
from tests.differential.harness.gate import gate, gate_sync
from tests.differential.harness.network import close_network
from tests.differential.harness.standard import standard

__all__ = ["HOST", "Client", "gate", "gate_sync", "standard"]

close_network()
