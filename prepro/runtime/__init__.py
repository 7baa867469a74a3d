"""What every long-running command needs: devices, processes, signals, progress, run folders, metrics."""
