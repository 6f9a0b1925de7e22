"""Bags of rosbag2: runs as bags, and bags as transitions. ROS is not needed, `rosbags` is."""

from mbrl_node.data.exchange import needs

with needs("rosbags", "lz4", "backports"):
    from mbrl_node.data.bags.reading import BagContents, read_bag
    from mbrl_node.data.bags.storage import BagError
    from mbrl_node.data.bags.write import write_bag

__all__ = ["BagContents", "BagError", "read_bag", "write_bag"]
