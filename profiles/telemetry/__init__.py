"""What exporters and Prometheus have to show, whatever the stack."""
