"""What a file in `packages/` imports: the client that its requests are sent with, and the gate that its app waits at.

Importing this package closes the network: from then on the process connects to this machine only. It also puts in the
fault that `DIFFERENTIAL_BREAK` names, for an app may run in a process that imports nothing else from here.
"""

from __future__ import annotations

import os

from tests.differential.harness.client import HOST, Client
from tests.differential.harness.gate import gate, gate_sync
from tests.differential.harness.network import close_network
from tests.differential.harness.standard import standard

__all__ = ["HOST", "Client", "gate", "gate_sync", "standard"]

close_network()
if name := os.environ.get("DIFFERENTIAL_BREAK"):
    from tests.differential.harness.breaks import break_adapter

    break_adapter(name)
