"""The chart on a real Kubernetes: `make test-k8s`. README.md says what it needs."""
