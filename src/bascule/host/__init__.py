"""The only floor that makes system calls on the network: sockets, namespaces, mounts, processes."""
