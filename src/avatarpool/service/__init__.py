"""The local avatar service: console, ingress and lip-sync on one port."""
