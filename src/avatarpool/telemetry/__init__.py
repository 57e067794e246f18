"""What monitoring sees of pools: `prometheus` and `opentelemetry`, each an extra of its own."""
