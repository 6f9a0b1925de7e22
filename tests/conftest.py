"""What each test run needs: a ROS 2 graph of its own, logs out of the way, one thread for torch."""

import hashlib
import os
import tempfile
import time

# Set on import, before any test module can import rclpy or start a process.
if "MBRL_TEST_DOMAIN_ID" in os.environ:
    os.environ["ROS_DOMAIN_ID"] = os.environ["MBRL_TEST_DOMAIN_ID"]
else:
    _run = f"{os.getpid()} {time.time_ns()}".encode()
    os.environ["ROS_DOMAIN_ID"] = str(1 + int(hashlib.sha256(_run).hexdigest(), 16) % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
_logs = tempfile.TemporaryDirectory(prefix="mbrl-test-log-")  # removed when pytest ends
os.environ["ROS_LOG_DIR"] = _logs.name

try:
    import torch
except ImportError:
    pass
else:
    torch.set_num_threads(1)
