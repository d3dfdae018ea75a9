# Writes the three rings of a Swift with one device: rings.py DIRECTORY ACCOUNT_PORT CONTAINER_PORT OBJECT_PORT
import os
import sys

from swift.common.ring import RingBuilder

directory, ports = sys.argv[1], sys.argv[2:]
for kind, port in zip(("account", "container", "object"), map(int, ports), strict=True):
    builder = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
    builder.add_dev({
        "id": 0, "region": 1, "zone": 1, "weight": 1.0, "device": "d1", "meta": "",
        "ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1", "replication_port": port,
    })
    builder.rebalance()
    builder.get_ring().save(os.path.join(directory, kind + ".ring.gz"))
